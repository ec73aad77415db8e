import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff } from "../../../modules/ui/web/core/backoff.js";

test("the waiting time doubles from 0.4 s to 8 s, give or take a fifth", () => {
  const backoff = new Backoff();
  for (const base of [400, 800, 1600, 3200, 6400, 8000, 8000]) {
    const wait = backoff.next();
    assert.ok(wait >= base * 0.8 && wait <= base * 1.2, `${wait} for ${base}`);
  }
});

test("after a success it starts again from the shortest time", () => {
  const backoff = new Backoff();
  for (let at = 0; at < 6; at += 1) backoff.next();
  backoff.reset();
  assert.ok(backoff.next() <= 480);
});
