globalThis.effects = true;
