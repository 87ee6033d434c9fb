package wrangler

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// BuildKey identifies everything in the configuration that can make a difference to Bundle: two configurations of one
// directory with equal keys have equal bundles, so that shops which differ only in what they are bound to need one.
//
// It names what makes no difference, so that a setting nobody thought of splits a key rather than shares a bundle.
func (c *Config) BuildKey() string {
	k := *c
	k.Env, k.TopLevelName, k.Name, k.AccountID = "", "", "", ""
	k.D1, k.Crons, k.CronsSet, k.Routes, k.RequiredSecrets, k.Tags, k.Warnings = nil, nil, false, nil, nil, nil, nil
	k.WorkersDev, k.WorkersDevSet, k.PreviewURLs, k.Assets = false, false, nil, nil
	k.Observability, k.Limits, k.Placement, k.Cache, k.TailConsumers, k.StreamingTailConsumers, k.Logpush = nil, nil, nil, nil, nil, nil, nil
	// Of the bindings only those to classes are looked at: the code has to export these.
	k.Bindings = slices.DeleteFunc(slices.Clone(c.Bindings), func(b Binding) bool {
		return b.Type != "durable_object_namespace" && b.Type != "workflow"
	})
	if len(k.Bindings) > 0 {
		k.Name = c.Name // whether a class is this Worker's own depends on it
	}
	text, err := json.Marshal(k)
	if err != nil {
		// Raw messages come from the parser, the rest is plain; there is no way to fail.
		panic("wrangler: encoding a configuration: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
