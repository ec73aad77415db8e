import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { EventSocket } from "../../../modules/ui/web/core/event_socket.js";

const OPEN = 1;

/** A WebSocket that does what the test says. */
class FakeWebSocket {
  static OPEN = OPEN;
  static made = [];
  readyState = 0;

  constructor(url) {
    this.url = String(url);
    FakeWebSocket.made.push(this);
  }

  say(message) {
    this.readyState = OPEN;
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  close() {
    this.readyState = 3;
    this.onclose?.();
  }
}

const made = FakeWebSocket.made;
let heard;

function connect() {
  const socket = new EventSocket({
    message: (event) => heard.push(event.type), up: () => heard.push("up"), down: () => heard.push("down"),
  });
  socket.connect();
  return socket;
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  globalThis.WebSocket = FakeWebSocket;
  globalThis.location = { href: "http://127.0.0.1:7860/#/chat/a" };
  made.length = 0;
  heard = [];
});

test("it asks the server the page came from", () => {
  connect();
  assert.equal(made[0].url, "ws://127.0.0.1:7860/api/events");
});

test("trying again twice leaves one WebSocket, and nothing is told twice", () => {
  const socket = connect();
  socket.retry();
  socket.retry();
  assert.deepEqual(made.map((one) => one.readyState), [3, 3, 0]);
  for (const one of made) one.say({ type: "hello" });
  assert.deepEqual(heard, ["up", "hello"]);
});

test("trying again changes nothing while it is open", () => {
  const socket = connect();
  made[0].say({ type: "hello" });
  socket.retry();
  assert.equal(made.length, 1);
});

test("a lost connection is said, and opened again after a while", () => {
  connect();
  made[0].say({ type: "hello" });
  made[0].close();
  assert.deepEqual(heard, ["up", "hello", "down"]);
  mock.timers.tick(500);
  assert.equal(made.length, 2);
});

test("after close nothing is opened again", () => {
  const socket = connect();
  made[0].close();
  socket.close();
  mock.timers.tick(10_000);
  assert.equal(made.length, 1);
});
