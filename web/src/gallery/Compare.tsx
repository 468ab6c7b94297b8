import { useState } from "preact/hooks";
import type { JSX } from "preact";
import type { Print } from "../state/jobs";
import { pictureAlt } from "../stage/Sheet";
import { Dialog } from "../ui/Dialog";
import { Image } from "../ui/Image";
import { differences } from "./facts";

// Two pictures in one frame, the right one uncovered as far as the slider says.
export function Compare({ left, right, onClose }: { left: Print; right: Print; onClose: () => void }) {
  const [cut, setCut] = useState(50);
  const differ = differences(left, right);
  const ratio = Math.max(left.picture.width / left.picture.height, right.picture.width / right.picture.height);
  return (
    <Dialog label="Compare two pictures" class="compare" onClose={onClose}>
      <h2 class="heading">Compare</h2>
      <div class="compare-frame" style={{ "--cut": cut, "--ratio": ratio } as JSX.CSSProperties}>
        <Image class="compare-left" url={left.picture.url} alt={`Left: ${pictureAlt(left.job, left.picture)}`} width={left.picture.width} height={left.picture.height} eager />
        <Image class="compare-right" url={right.picture.url} alt={`Right: ${pictureAlt(right.job, right.picture)}`} width={right.picture.width} height={right.picture.height} eager />
        <span class="compare-line" aria-hidden="true" />
        <input
          class="compare-slider"
          type="range"
          min={0}
          max={100}
          step={0.5}
          value={cut}
          aria-label="How much of the left picture is seen"
          aria-valuetext={`${Math.round(cut)} % left`}
          onInput={(event) => setCut(event.currentTarget.valueAsNumber)}
        />
      </div>
      <table class="facts-table">
        <thead>
          <tr>
            <th scope="col">{differ.length > 0 ? "What differs" : "The same settings"}</th>
            <th scope="col">Left</th>
            <th scope="col">Right</th>
          </tr>
        </thead>
        <tbody>
          {differ.map(([name, a, b]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{a}</td>
              <td>{b}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Dialog>
  );
}
