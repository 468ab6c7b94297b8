import { defineConfig } from "vite";

// Everything is a file of its own: the server's Content-Security-Policy knows neither inline scripts nor
// data: fonts. Names carry hashes of their content, so assets may be cached for ever.
export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 300,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8188", "/metrics": "http://127.0.0.1:8188" } },
});
