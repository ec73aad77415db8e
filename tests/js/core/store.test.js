import assert from "node:assert/strict";
import { test } from "node:test";

import { initialState, Store } from "../../../modules/ui/web/core/store.js";

test("a listener runs at once, and once for a change of several of its keys", () => {
  const store = new Store({ a: 1, b: 2 });
  let runs = 0;
  store.on(["a", "b"], () => { runs += 1; });
  assert.equal(runs, 1);
  store.set({ a: 2, b: 3 });
  assert.equal(runs, 2);
});

test("the same value again tells nobody", () => {
  const store = new Store({ a: 1 });
  let runs = 0;
  store.on(["a"], () => { runs += 1; });
  store.set({ a: 1 });
  assert.equal(runs, 1);
});

test("a listener that was taken away hears nothing more", () => {
  const store = new Store({ a: 1 });
  let runs = 0;
  store.on(["a"], () => { runs += 1; })();
  store.set({ a: 2 });
  assert.equal(runs, 1);
});

test("two pages never share what they know", () => {
  assert.notEqual(initialState().running, initialState().running);
});
