// Screenshots to look at, at three widths in both schemes: node e2e/shots.mjs [VIEW...]; they land in e2e/shots/.
import { mkdirSync } from "node:fs";
import { launch, visit } from "./browser.mjs";

const kUrl = process.env.BASE_URL ?? "http://127.0.0.1:8188/";
const kOut = new URL("./shots/", import.meta.url).pathname;
const kCaption = JSON.stringify({
  high_level_description: 'A red apple above "CAT"',
  compositional_deconstruction: { background: "yellow", elements: [{ type: "obj", bbox: [60, 200, 640, 800], desc: "a red apple" }, { type: "text", bbox: [690, 220, 920, 780], text: "CAT", desc: "red serif letters" }] },
});

// From the first picture of the history.
async function begin(page) {
  const picture = await page.evaluate(async () => [...new Uint8Array(await (await fetch(document.querySelector(".print img").src)).arrayBuffer())]);
  await page.locator(".begin input[type=file]").setInputFiles({ name: "a.png", mimeType: "image/png", buffer: Buffer.from(picture) });
  await page.waitForSelector(".begin-plate img");
}

async function paint(page) {
  const box = await page.locator(".mask-canvas").boundingBox();
  await page.mouse.move(box.x + 0.3 * box.width, box.y + 0.4 * box.height);
  await page.mouse.down();
  await page.mouse.move(box.x + 0.7 * box.width, box.y + 0.6 * box.height, { steps: 6 });
  await page.mouse.up();
}

const views = {
  studio: async () => {},
  blank: async (page) => {
    await page.route("**/api/jobs?*", (route) => route.fulfill({ json: { jobs: [], next: null } }));
    await page.reload();
  },
  drawing: async (page) => {
    await page.fill("#prompt", "a rocket on a navy background");
    await page.click(".press");
    await page.waitForSelector(".preview");
  },
  layout: async (page) => {
    await page.fill("#prompt", kCaption);
    await page.click('label:has-text("Layout")');
    await page.click(".box.text");
  },
  settings: async (page) => {
    await page.fill("#prompt", "A very long prompt about the harbour at dusk, its cranes and gulls, the smell of tar and oranges. ".repeat(4));
    await page.selectOption("#model", { index: 2 });
    await page.selectOption("#schedule", "steps");
    await page.click('label:has-text("Fixed")');
    await page.fill("#seed", "1234567890");
    for (const name of ["engraving", "letterpress"]) await page.selectOption(".loras select", name);
    await page.fill("#width", "1000");
    await page.click(".press");
  },
  passes: async (page) => {
    await page.selectOption("#cache", "share-0.5");
    await page.locator("#cache").evaluate((field) => field.scrollIntoView({ block: "center" }));
  },
  tall: async (page) => {
    await page.fill("#prompt", "an owl and a pumpkin on teal, and a caption that is so long that it does not fit into any line at all, by far ".repeat(5));
    await page.click('.shape[title="phone screen"]');
    await page.fill("#count", "3");
    await page.click(".press");
    await page.locator(".strip-item").first().waitFor();
    await page.click(".gauge");
  },
  begin: async (page) => {
    await begin(page);
    await page.locator(".begin").evaluate((field) => field.scrollIntoView({ block: "start" }));
  },
  unable: async (page) => {
    await begin(page);
    await page.selectOption("#model", { index: 1 });
    await page.fill("#prompt", "a fox");
    await page.click(".press");
    await page.locator(".begin").evaluate((field) => field.scrollIntoView({ block: "start" }));
  },
  mask: async (page) => {
    await begin(page);
    await page.click('button:has-text("Paint a mask")');
    await paint(page);
  },
  began: async (page) => {
    await begin(page);
    await page.click('button:has-text("Paint a mask")');
    await paint(page);
    await page.click('.mask-dialog button:has-text("Use it")');
    await page.fill("#prompt", "a fox that is a zyxomma");
    await page.click(".press");
    await page.locator(".stage a").first().waitFor();
    await page.click(".stage a");
    await page.waitForSelector(".began img");
  },
  warned: async (page) => {
    await page.fill("#prompt", "a fox that is a zyxomma");
    await page.click(".press");
    await page.locator(".stage .warning").scrollIntoViewIfNeeded();
  },
  archive: (page) => page.click("text=Archive"),
  jobs: async (page) => {
    await page.click("text=Archive");
    await page.click('label[title="Jobs"]');
  },
  viewer: async (page) => {
    await page.click(".print a");
    await page.waitForSelector(".viewer");
  },
  compare: async (page) => {
    for (const i of [0, 5]) await page.locator(".pick").nth(i).click({ force: true });
    await page.click(".tray .strong");
    await page.waitForSelector(".compare-frame");
  },
  machine: (page) => page.click(".gauge"),
  help: (page) => page.click('[aria-label="Keys and help"]'),
};

const wanted = process.argv.slice(2);
const widths = (process.env.WIDTHS ?? "360,820,1440").split(",").map(Number);
const schemes = (process.env.SCHEMES ?? "light,dark").split(",");
mkdirSync(kOut, { recursive: true });
const browser = await launch();
for (const width of widths) {
  for (const scheme of schemes) {
    for (const [name, act] of Object.entries(views)) {
      if (wanted.length > 0 && !wanted.includes(name)) continue;
      const { context, page } = await visit(browser, { url: kUrl, width, height: width < 500 ? 740 : width < 1000 ? 1100 : 900, scheme });
      try {
        await page.waitForSelector(".print img");
        await act(page);
        await page.waitForTimeout(500);
      } catch (error) {
        console.log(`${name} ${width} ${scheme}: ${error.message.split("\n")[0]}`);
      }
      await page.screenshot({ path: `${kOut}${name}-${width}-${scheme}.png`, fullPage: Boolean(process.env.FULL) });
      await context.close();
    }
  }
}
await browser.close();
