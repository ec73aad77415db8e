import assert from "node:assert/strict";
import { test } from "node:test";

import { composing, matches } from "../../../modules/ui/web/core/shortcuts.js";

/** A key event as a browser on Linux or Windows sends it: "Ctrl+Shift+o KeyO". */
function pressed(keys, code = "") {
  const parts = keys.split("+");
  const key = parts.pop();
  const held = (name) => parts.includes(name);
  return { key, code, ctrlKey: held("Ctrl"), metaKey: held("Meta"), altKey: held("Alt"), shiftKey: held("Shift") };
}

test("a chord is pressed with its modifiers, and only with them", () => {
  assert.ok(matches("Mod+K", pressed("Ctrl+k", "KeyK")));
  assert.ok(!matches("Mod+K", pressed("k", "KeyK")));
  assert.ok(!matches("Mod+K", pressed("Ctrl+Shift+K", "KeyK")));
  assert.ok(!matches("Mod+K", pressed("Ctrl+Alt+k", "KeyK")));
  assert.ok(!matches("Mod+K", pressed("Ctrl+Meta+k", "KeyK")));
});

test("a letter is its place on the keyboard, too, whatever the layout writes there", () => {
  assert.ok(matches("Mod+B", pressed("Ctrl+и", "KeyB")));
});

test("punctuation that needs Shift on one layout is found on another", () => {
  assert.ok(matches("?", pressed("Shift+?", "Slash")));
  assert.ok(matches("Mod+/", pressed("Ctrl+/", "Slash")));
  assert.ok(matches("Mod+.", pressed("Ctrl+:", "Period")));
});

test("keys of an input method are its own", () => {
  assert.ok(composing({ isComposing: true, keyCode: 13 }));
  assert.ok(composing({ isComposing: false, keyCode: 229 }));
  assert.ok(!composing({ isComposing: false, keyCode: 13 }));
});
