// Numbers and times as words.

export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1000;
    unit += 1;
  }
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.max(0.1, seconds).toFixed(1)} s`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// Seconds between two of the server's times; null where one is missing.
export function between(from: string | null, to: string | null): number | null {
  if (from === null || to === null) return null;
  const seconds = (Date.parse(to) - Date.parse(from)) / 1000;
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : null;
}

export function ago(then: string, now: number): string {
  const seconds = Math.max(0, (now - Date.parse(then)) / 1000);
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 45) return "just now";
  if (seconds < 5400) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(then).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

const kPhases: Record<string, string> = {
  load_text: "Loading the text encoder",
  text: "Reading the prompt",
  load_transformers: "Loading the model",
  encode: "Reading the picture",
  prepare: "Preparing",
  denoise: "Drawing",
  load_vae: "Loading the decoder",
  decode: "Developing the picture",
  finish: "Finishing",
};

export const phaseWords = (phase: string): string =>
  kPhases[phase] ?? (phase ? phase.charAt(0).toUpperCase() + phase.slice(1).replaceAll("_", " ") : "Starting");

export const plural = (n: number, word: string): string => `${n} ${word}${n === 1 ? "" : "s"}`;
