globalThis.dropped = true;
