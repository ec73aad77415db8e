/** Line icons, drawn as SVG nodes from constant path data. 18 px, 1.75 px stroke, currentColor. */

/** @type {Record<string, string>} */
const PATHS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h10v11H9zM5 15V4h10",
  check: "M5 12.5l4.5 4.5L19 7.5",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  retry: "M20 11a8 8 0 1 0-2.3 6M20 5v6h-6",
  play: "M6 5v14M10 12h10M15 7l5 5-5 5",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  left: "M14.5 6l-6 6 6 6",
  right: "M9.5 6l6 6-6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  caret: "M7 10l5 5 5-5",
  close: "M6 6l12 12M18 6L6 18",
  sliders: "M4 8h9M17 8h3M4 16h3M11 16h9M15 5.5v5M9 13.5v5",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  screen: "M4 5h16v11H4zM9 20h6M12 16v4",
  branch: "M7 4v16M7 15c0-5 10-3 10-9M14.5 8.5L17 6l2.5 2.5",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  wrap: "M4 6h16M4 18h5M4 12h13a3 3 0 0 1 0 6h-3M16 15.5L13.5 18l2.5 2.5",
  keyboard: "M3 7h18v10H3zM7 10.5h.01M11 10.5h.01M15 10.5h.01M18 10.5h.01M8 14h8",
  thought: "M12 4a6 6 0 0 0-3.5 10.9V17h7v-2.1A6 6 0 0 0 12 4zM9.5 20h5",
  alert: "M12 4l9 16H3zM12 10v4.5M12 17.3h.01",
  info: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 11v5.5M12 7.7h.01",
  file: "M7 3.5h7l4 4V20.5H7zM14 3.5v4h4",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.01",
  power: "M12 4v8M7.5 6.8a7 7 0 1 0 9 0",
  pen: "M5 19h14M6 15l9-9 3 3-9 9H6z",
  folder: "M3.5 6.5h6l2 2.5h9v10h-17z",
  chat: "M4 5h16v11h-9l-4 4v-4H4z",
  panel: "M4 5h16v14H4zM9.5 5v14",
};

const SVG = "http://www.w3.org/2000/svg";

/** An icon node; decorative, so hidden from assistive technology. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `eh-icon eh-icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
