// The panel of speed and memory: a short history of what /metrics says.
import { parseMetrics, total } from "../format/prometheus";

export interface Reading {
  at: number; // milliseconds
  resident: number | null; // bytes
  device: number | null;
  stepsPerSecond: number | null;
}

export interface Machine {
  readings: readonly Reading[]; // oldest first
  queued: number | null;
  pictures: number | null; // drawn since the server started
  secondsPerPicture: number | null;
}

export const kReadings = 60;
export const noMachine: Machine = { readings: [], queued: null, pictures: null, secondsPerPicture: null };

const positive = (value: number | null) => (value !== null && value > 0 ? value : null);

export function withMetrics(machine: Machine, text: string, at: number, stepsPerSecond: number | null): Machine {
  const samples = parseMetrics(text);
  const memory = (kind: string) => total(samples, "intaglio_memory_bytes", { kind });
  const reading: Reading = {
    at,
    resident: memory("resident") ?? total(samples, "process_resident_memory_bytes"),
    device: positive(memory("device")),
    stepsPerSecond,
  };
  return {
    readings: [...machine.readings, reading].slice(-kReadings),
    queued: total(samples, "intaglio_jobs", { state: "queued" }),
    pictures: total(samples, "intaglio_pictures_total", { outcome: "done" }) ?? total(samples, "intaglio_pictures_total"),
    secondsPerPicture: positive(total(samples, "intaglio_seconds_per_picture")),
  };
}

// Points of a line of that many units' width and height, the greatest value at the top; "" for fewer than two.
export function linePoints(values: readonly (number | null)[], width: number, height: number): string {
  const known = values.filter((v): v is number => v !== null);
  if (known.length < 2) return "";
  const top = Math.max(...known) || 1;
  const across = (i: number) => ((i + kReadings - values.length) / (kReadings - 1)) * width;
  return values
    .map((v, i) => (v === null ? "" : `${across(i).toFixed(1)},${(height - (v / top) * (height - 2) - 1).toFixed(1)}`))
    .filter(Boolean)
    .join(" ");
}
