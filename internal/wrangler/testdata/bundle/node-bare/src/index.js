import fs from "fs";
import { EventEmitter } from "events";
import fetch from "node-fetch";
import "cross-fetch/polyfill";
import debug from "debug";
import sqlite from "node:sqlite";
import { dual } from "dual";

export default {
	fetch: () => Response.json([fs, EventEmitter, fetch, debug("x"), sqlite, dual, process.version]),
};
