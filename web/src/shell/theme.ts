// Dark or light: the system's choice, or the one made here, which is remembered.
import { createStore, keep, recall } from "../state/store";

export type Theme = "auto" | "light" | "dark";

const kThemes: readonly Theme[] = ["auto", "light", "dark"];
export const isTheme = (value: unknown): value is Theme => kThemes.includes(value as Theme);
export const nextTheme = (theme: Theme): Theme => kThemes[(kThemes.indexOf(theme) + 1) % kThemes.length] as Theme;

export const theme = createStore<Theme>(recall("theme", (v) => (isTheme(v) ? v : null)) ?? "auto");

export function watchTheme(): void {
  const show = () => {
    document.documentElement.dataset["theme"] = theme.get();
    keep("theme", theme.get() === "auto" ? null : theme.get());
  };
  theme.subscribe(show);
  show();
}
