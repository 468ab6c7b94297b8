// Where the page is: a fragment, so that a reload, a link and the back button work and the server knows nothing of it.
import { createStore } from "./store";

export type Route =
  | { view: "studio" }
  | { view: "archive" }
  | { view: "picture"; id: string; index: number; from: "studio" | "archive" };

export function parseRoute(fragment: string): Route {
  const parts = fragment.replace(/^#\/?/, "").split("/");
  const from = parts[0] === "archive" ? "archive" : "studio";
  if (parts[1] === "picture" && parts[2] && /^\d+$/.test(parts[3] ?? "")) {
    return { view: "picture", id: decodeURIComponent(parts[2]), index: Number(parts[3]), from };
  }
  return { view: from };
}

export const pictureFragment = (from: string, id: string, index: number): string =>
  `#${from}/picture/${encodeURIComponent(id)}/${index}`;

export const route = createStore<Route>(typeof location === "undefined" ? { view: "studio" } : parseRoute(location.hash));

export function watchRoute(): void {
  addEventListener("hashchange", () => route.set(parseRoute(location.hash)));
}

export function go(fragment: string): void {
  location.hash = fragment;
}
