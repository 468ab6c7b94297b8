// Prometheus' text exposition format, as far as a panel needs it.

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const kLine = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*$/;
const kLabel = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"\s*,?\s*/y;
const kNumbers: Record<string, number> = { "+Inf": Infinity, "-Inf": -Infinity, Inf: Infinity, NaN };

// Lines that are none are left out.
export function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("#")) continue;
    const found = kLine.exec(line);
    if (!found) continue;
    const labels: Record<string, string> = {};
    const inside = found[2] ?? "";
    kLabel.lastIndex = 0;
    for (let label = kLabel.exec(inside); label; label = kLabel.exec(inside)) {
      labels[label[1] as string] = (label[2] as string).replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));
    }
    const value = kNumbers[found[3] as string] ?? Number(found[3]);
    if (!Number.isNaN(value)) samples.push({ name: found[1] as string, labels, value });
  }
  return samples;
}

// The sum of a name's samples with those labels; null: there are none.
export function total(samples: Sample[], name: string, labels: Record<string, string> = {}): number | null {
  let sum: number | null = null;
  for (const sample of samples) {
    if (sample.name !== name) continue;
    if (Object.entries(labels).every(([key, value]) => sample.labels[key] === value)) sum = (sum ?? 0) + sample.value;
  }
  return sum;
}
