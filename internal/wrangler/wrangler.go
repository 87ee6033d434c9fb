// Package wrangler is the local half of "wrangler deploy": it reads a project's configuration, bundles the
// code, lists static assets and D1 migration files, and builds the form that uploads a version. It never uses
// the network and never writes into the project's directory.
//
// What it decides is what wrangler 4.164.0 decides, byte for byte where bytes travel. Tests hold it to that
// with the real wrangler; where it differs on purpose the doc comment of the function says so and why.
//
// Start with [Load] (a project on disk) or [Parse] (a configuration whose text comes from git, beside a
// directory with the rest of the tree). A [Project] is the file; [Project.Resolve] gives the [Config] of one
// environment, typed, with inheritance and defaults applied. From a Config:
//
//   - [Config.Bundle] runs esbuild, as wrangler does
//   - [Config.ReadAssets] lists and hashes the static assets
//   - [Config.Migrations] reads a database's migration files in the order they are applied
//   - [NewForm] builds the upload from a Config and a Bundle
//   - [Config.Unsupported] says what wrangler would do for this configuration and we do not
//
// Mistakes in the user's files come back as [Findings], all of them at once, each with its position.
package wrangler
