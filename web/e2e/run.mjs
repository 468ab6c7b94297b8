// Browser tests: node e2e/run.mjs [NAME...]. Without BASE_URL a mock is started for them; screenshots land in e2e/shots/.
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { launch, visit } from "./browser.mjs";
import { access } from "./scenarios/access.mjs";
import { begin } from "./scenarios/begin.mjs";
import { drawing } from "./scenarios/drawing.mjs";
import { faults } from "./scenarios/faults.mjs";
import { gallery } from "./scenarios/gallery.mjs";
import { layout } from "./scenarios/layout.mjs";

const scenarios = { ...drawing, ...begin, ...layout, ...gallery, ...faults, ...access };
const wanted = process.argv.slice(2);
const shots = fileURLToPath(new URL("./shots/", import.meta.url));
mkdirSync(shots, { recursive: true });

async function startMock() {
  const child = spawn(process.execPath, [fileURLToPath(new URL("../mock/server.mjs", import.meta.url)), "0"], { env: { ...process.env, STEP_MS: "40" }, stdio: ["ignore", "pipe", "inherit"] });
  const line = await new Promise((done, failed) => {
    child.stdout.once("data", (data) => done(String(data)));
    child.once("exit", () => failed(new Error("the mock did not start")));
  });
  return { child, url: /http:\S+/.exec(line)[0] };
}

const mock = process.env.BASE_URL ? null : await startMock();
const url = process.env.BASE_URL ?? mock.url;
const browser = await launch();
let failures = 0;
for (const [name, { options = {}, mayLog = false, act }] of Object.entries(scenarios)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const errors = [];
  const { context, page } = await visit(browser, { url: "about:blank", ...options, errors });
  try {
    await act({ page, url, mock: mock !== null });
    if (!mayLog && errors.length > 0) throw new Error(`the page logged: ${errors.join(" | ")}`);
    console.log(`ok    ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAIL  ${name}: ${error.message}`);
  }
  await page.screenshot({ path: `${shots}test-${name}.png` }).catch(() => {});
  await context.close();
}
await browser.close();
mock?.child.kill();
console.log(failures === 0 ? "e2e: all passed" : `e2e: ${failures} failed`);
process.exit(failures === 0 ? 0 : 1);
