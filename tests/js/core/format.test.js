import assert from "node:assert/strict";
import { test } from "node:test";

import "../texts.js";
import { bytes, dayGroup, duration, plural, when } from "../../../modules/ui/web/core/format.js";

test("bytes are kB, MB or GB", () => {
  assert.equal(bytes(0), "0 MB");
  assert.equal(bytes(null), "0 MB");
  assert.equal(bytes(12), "1 kB");
  assert.equal(bytes(98e6), "98 MB");
  assert.match(bytes(7.94e9), /^7[.,]9 GB$/);
});

test("a count of one has the singular", () => {
  assert.equal(plural(1, "message"), "1 message");
  assert.equal(plural(3, "reply", "replies"), "3 replies");
});

test("times below ten seconds have a tenth, long ones minutes", () => {
  assert.match(duration(400), /^0[.,]4 s$/);
  assert.equal(duration(12_300), "12 s");
  assert.equal(duration(200_000), "3 min 20 s");
});

test("a chat stands under the calendar day of its last change", () => {
  const now = new Date(2026, 10, 15, 0, 30);
  const at = (...parts) => dayGroup(new Date(...parts).toISOString(), now);
  assert.equal(at(2026, 10, 15, 0, 1), "Today");
  assert.equal(at(2026, 10, 14, 23, 59), "Yesterday");
  assert.equal(at(2026, 10, 9, 12), "Previous 7 days");
  assert.equal(at(2026, 9, 20, 12), "Previous 30 days");
  assert.match(at(2026, 2, 3, 12), /2026/);
});

test("a time that cannot be read is shown as nothing", () => {
  assert.equal(when("yesterday or so"), "");
  assert.equal(when(undefined), "");
});
