import type { JSX } from "preact";
import { edit, info } from "../state/app";
import { useStore } from "../state/store";
import { Sheet } from "./Sheet";

// Within the bundled model's vocabulary; every other model knows these as well.
const kExamples = [
  "a sunflower on a navy background",
  'a penguin with "ICE" in white letters at the bottom on a blue background',
  "a cat above a guitar in fluent style on a mint background",
];

// Before the first picture.
export function Blank() {
  const known = useStore(info, (i) => i !== null);
  return (
    <section class="stage" aria-label="On the press" style={{ "--ratio": 4 / 3 } as JSX.CSSProperties}>
      <Sheet width={4} height={3} middle={known ? "Nothing printed yet" : "Looking for the server"}>
        <div class="uncut blank">
          <div class="blank-words">
            <p class="blank-title">The plate is clean.</p>
            <p>Describe a picture, or begin with one of these.</p>
            <ul>
              {kExamples.map((prompt) => (
                <li key={prompt}>
                  <button
                    type="button"
                    class="example"
                    onClick={() => {
                      edit({ mode: "plain", prompt });
                      requestAnimationFrame(() => document.getElementById("prompt")?.focus());
                    }}
                  >
                    {prompt}
                  </button>
                </li>
              ))}
            </ul>
          </div>
        </div>
      </Sheet>
    </section>
  );
}
