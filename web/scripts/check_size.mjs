// The page may take 100 kB in all, compressed.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { gzipSync } from "node:zlib";

const kMost = 100_000;
const dist = new URL("../dist/", import.meta.url);
const files = readdirSync(dist, { recursive: true }).filter((name) => statSync(new URL(name, dist)).isFile() && name !== "sources.sha256");
const sizes = files.map((name) => [gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length, name]);
const total = sizes.reduce((sum, [size]) => sum + size, 0);
for (const [size, name] of sizes.sort((a, b) => b[0] - a[0])) console.log(`${String(size).padStart(7)} ${name}`);
console.log(`${String(total).padStart(7)} bytes compressed, of ${kMost}`);
process.exit(total <= kMost ? 0 : 1);
