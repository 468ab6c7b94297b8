// Keys of the whole page. Those of one letter can be switched off (WCAG 2.1.4).
import { draw } from "../composer/draw";
import { createStore, keep, recall } from "../state/store";
import { go } from "../state/route";
import { nextTheme, theme } from "./theme";

export const helpOpen = createStore(false);
export const machineOpen = createStore(false);
export const letters = createStore(recall("letters", (v) => (typeof v === "boolean" ? v : null)) ?? true);
letters.subscribe(() => keep("letters", letters.get()));

export const kKeys: readonly [string, string][] = [
  ["Ctrl ↵", "Draw"],
  ["p", "Go to the prompt"],
  ["/", "Search the archive"],
  ["s", "Studio"],
  ["a", "Archive"],
  ["m", "Speed and memory"],
  ["t", "Dark, light, or as the system"],
  ["← →", "Newer or older picture, in the viewer"],
  ["Esc", "Close"],
  ["?", "These keys"],
];

const focus = (id: string) => setTimeout(() => document.getElementById(id)?.focus(), 40);

const kLetters: Record<string, () => void> = {
  p: () => {
    go("studio");
    focus(document.getElementById("summary") ? "summary" : "prompt");
  },
  "/": () => {
    go("archive");
    focus("search");
  },
  s: () => go("studio"),
  a: () => go("archive"),
  m: () => machineOpen.set((open) => !open),
  t: () => theme.set(nextTheme),
  "?": () => helpOpen.set(true),
};

export function watchKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && document.querySelector("dialog[open]") === null) {
      event.preventDefault();
      void draw();
      return;
    }
    if (event.key === "Escape") machineOpen.set(false);
    const target = event.target as HTMLElement;
    const typing = target.matches("textarea, select, [contenteditable], input:not([type=radio]):not([type=checkbox]):not([type=range])");
    if (!letters.get() || typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const act = kLetters[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}
