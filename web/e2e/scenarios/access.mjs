import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { drawOne, open } from "../steps.mjs";
import { choose } from "./begin.mjs";

const kAxe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

async function audit(page, where) {
  await page.waitForTimeout(300); // transitions of colours
  await page.evaluate(kAxe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const words = violations.map((v) => `${v.id} (${v.nodes.map((n) => n.target.join(" ")).join("; ")})`);
  assert.deepEqual(words, [], `axe, ${where}`);
}

// Every view and dialog.
async function auditAll(page, url, scheme) {
  await open(page, url);
  if ((await page.locator(".print").count()) < 2) {
    await drawOne(page, "a fox");
    await drawOne(page, "an owl");
  }
  await page.locator(".print img").first().waitFor();
  await audit(page, `${scheme} studio`);
  await page.click(".gauge");
  await audit(page, `${scheme} machine`);
  await page.click(".gauge");
  await page.click(".press");
  await audit(page, `${scheme} problem`);
  if (await page.locator(".begin input[type=file]").count()) {
    await choose(page);
    await audit(page, `${scheme} begin`);
    await page.click('button:has-text("Paint a mask")');
    await page.locator(".mask-canvas").focus();
    await page.keyboard.press(" ");
    await audit(page, `${scheme} mask`);
    await page.keyboard.press("Escape");
  }
  await page.fill("#prompt", '{"compositional_deconstruction":{"elements":[{"type":"text","text":"HI","bbox":[100,100,400,600]}]}}');
  await page.click('label:has-text("Layout")');
  await page.click("summary");
  await page.click('label:has-text("Photograph")');
  await page.locator(".box").focus();
  await audit(page, `${scheme} layout`);
  await page.click('[aria-label="Keys and help"]');
  await audit(page, `${scheme} help`);
  await page.keyboard.press("Escape");
  await page.click('a:has-text("Archive")');
  await page.locator(".print img").first().waitFor();
  await audit(page, `${scheme} archive`);
  await page.click('label[title="Jobs"]');
  await audit(page, `${scheme} jobs`);
  await page.click('label[title="Pictures"]');
  await page.locator(".print a").first().click();
  await page.locator(".viewer .plate img").waitFor();
  await audit(page, `${scheme} viewer`);
  await page.keyboard.press("Escape");
  for (const i of [0, 1]) {
    await page.locator(".print").nth(i).hover();
    await page.locator(".pick").nth(i).click();
  }
  await audit(page, `${scheme} tray`);
  await page.click('.tray button:has-text("Compare")');
  await page.locator(".compare-frame").waitFor();
  await audit(page, `${scheme} compare`);
}

const paper = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).reduce((sum, c) => sum + Number(c), 0));

export const access = {
  axe_light: { act: ({ page, url }) => auditAll(page, url, "light") },
  axe_dark: { options: { scheme: "dark" }, act: ({ page, url }) => auditAll(page, url, "dark") },
  axe_phone: { options: { width: 360, height: 740 }, act: ({ page, url }) => auditAll(page, url, "phone") },

  // 360 pixels: nothing sticks out, and a picture is drawn and seen.
  phone: {
    options: { width: 360, height: 740 },
    async act({ page, url }) {
      await open(page, url);
      const fits = async (where) => {
        const [wide, seen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(wide <= seen, `${where} is ${wide} pixels wide`);
      };
      await fits("studio");
      await drawOne(page, "a penguin with \"ICE\" in white letters at the bottom on a blue background");
      await page.waitForFunction(() => document.querySelector(".stage").getBoundingClientRect().top < innerHeight / 2);
      await fits("stage");
      await page.click(".stage .plate a");
      await page.locator(".viewer").waitFor();
      await fits("viewer");
      await page.keyboard.press("Escape");
      await page.click('a:has-text("Archive")');
      await fits("archive");
      await page.click('label[title="Jobs"]');
      await fits("jobs");
    },
  },

  // The system's scheme, then one's own, remembered.
  dark: {
    options: { scheme: "dark" },
    async act({ page, url }) {
      await open(page, url);
      assert.ok((await paper(page)) < 200, "dark paper is not dark");
      await page.click('[aria-label^="Colours: as the system"]');
      assert.ok((await paper(page)) > 600, "light paper is not light");
      await page.reload();
      await page.locator('[aria-label^="Colours: light"]').waitFor();
      assert.ok((await paper(page)) > 600, "the choice was forgotten");
    },
  },

  keys: {
    async act({ page, url }) {
      await open(page, url);
      await page.keyboard.press("?");
      await page.locator("dialog .keys").waitFor();
      await page.keyboard.press("Escape");
      await page.locator("dialog").waitFor({ state: "detached" });
      await page.keyboard.press("/");
      await page.locator("#search:focus").waitFor();
      await page.keyboard.press("Escape");
      await page.evaluate(() => document.activeElement?.blur());
      await page.keyboard.press("p");
      await page.locator("#prompt:focus").waitFor();
      await page.keyboard.type("a? fox/");
      assert.equal(await page.inputValue("#prompt"), "a? fox/");
      await page.keyboard.press("Control+Enter");
      await page.locator('.stage [alt*="a? fox/"]').first().waitFor();
    },
  },
};
