// Debian's Chromium by playwright-core; CHROMIUM names another one.
import { chromium } from "playwright-core";

const kQuiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: kQuiet });

// A fresh visitor. Whatever the page logs as an error, the policy's refusals among them, goes to `errors`.
export async function visit(browser, { url, width = 1440, height = 900, scheme = "light", errors = [] }) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, hasTouch: width < 500, acceptDownloads: true });
  const page = await context.newPage();
  page.setDefaultTimeout(Number(process.env.PATIENCE ?? 30) * 1000);
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(url);
  return { context, page };
}
