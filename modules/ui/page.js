// The page's theme, and a few small things Gradio's controls leave out. Inlined in <head>; no modules here.
(() => {
  const CHOICES = ["system", "light", "dark"];
  const media = matchMedia("(prefers-color-scheme: dark)");
  const fallback = "system"/* setting */;

  // What was chosen in this browser wins over the server's setting; the chat's own menu writes the same key.
  const choice = () => {
    try {
      const own = JSON.parse(localStorage.getItem("enginehouse.theme") ?? "null");
      if (CHOICES.includes(own)) return own;
    } catch {
      return fallback; // storage is off or holds something else
    }
    return fallback;
  };
  const apply = () => {
    const chosen = choice();
    const dark = chosen === "dark" || (chosen === "system" && media.matches);
    if (chosen === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset.theme = chosen;
    if (document.body && document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
  };
  window.enginehouseTheme = (chosen) => {
    try {
      localStorage.setItem("enginehouse.theme", JSON.stringify(chosen));
    } catch {
      return; // without storage the next page load shows the setting
    }
    apply();
  };
  apply();
  media.addEventListener("change", apply);
  // Gradio sets its class by the system's preference alone, at start and when that changes.
  const watch = () => new MutationObserver(apply).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  if (document.body) watch();
  else document.addEventListener("DOMContentLoaded", () => { apply(); watch(); });

  // Gradio's slider tells of a change when the pointer lets go; the keyboard never lets go of anything.
  const MOVES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];
  document.addEventListener("keyup", ({ target, key }) => {
    if (target instanceof HTMLInputElement && target.type === "range" && MOVES.includes(key)) {
      target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
    }
  });
  // Enter in a number box means "done", as leaving it does.
  document.addEventListener("keydown", ({ target, key }) => {
    if (key === "Enter" && target instanceof HTMLInputElement && target.type === "number") target.blur();
  });
  // So does leaving the page: a browser does not tell a box that it is left when the page is closed or loaded again.
  const leave = () => {
    const box = document.activeElement;
    const control = box && box.matches("input, textarea") && box.closest("[id^='param-'], [id^='setting-'], [id^='load-']");
    if (control) box.dispatchEvent(new FocusEvent("blur"));
  };
  addEventListener("pagehide", leave);
  document.addEventListener("visibilitychange", () => document.hidden && leave()); // a phone tells no more than this
  // And what a control sends then has to arrive: browsers carry small bodies for pages that are gone.
  const ROOM = 60000; // bytes; a browser refuses a request when more than 64 kB are on their way so
  let carried = 0;
  const send = window.fetch;
  window.fetch = (/** @type {RequestInfo|URL} */ where, how) => {
    const saves = String(where).includes("/gradio_api/run/");
    if (!how || typeof how.body !== "string" || !(how.keepalive || saves)) return send(where, how);
    if (saves) return resend(where, how);
    return carry(where, how);
  };
  /** @param {RequestInfo|URL} where @param {RequestInit} how */
  const carry = (where, how) => {
    const size = String(how.body).length * 3; // at most
    if (carried + size > ROOM) return send(where, { ...how, keepalive: false });
    carried += size;
    return send(where, { ...how, keepalive: true }).finally(() => { carried -= size; });
  };
  // What a control sends while the server is away is sent again until it arrives: Gradio would drop the value.
  /** @param {RequestInfo|URL} where @param {RequestInit} how */
  const resend = async (where, how) => {
    for (let wait = 500; ; wait = Math.min(wait * 2, 4000)) {
      try {
        return await carry(where, how);
      } catch (error) {
        if (error instanceof Error && error.name === "AbortError") throw error;
      }
      await new Promise((resolve) => { setTimeout(resolve, wait); });
    }
  };
})();
