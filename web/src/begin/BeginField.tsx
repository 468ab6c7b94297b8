import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import type { Info, Model } from "../api/types";
import { sizeOf } from "../sizes/sizes";
import { draft, edit, notify, problems, report, say } from "../state/app";
import { useStore } from "../state/store";
import { Problem } from "../ui/Field";
import { Icon } from "../ui/Icon";
import { usePicture } from "../ui/picture";
import { begin, beginFrom, forget, mask, setMask, type Begin } from "./begin";
import { MaskEditor } from "./MaskEditor";

const kTypes = "image/png,image/jpeg,image/webp,image/*";

// The size of the next picture follows the one that it begins from.
export function takeShape(from: Begin, info: Info, model: Model): void {
  const ratio = Math.min(4, Math.max(1 / 4, from.width / from.height));
  edit(sizeOf(ratio, model.default_width * model.default_height, model.multiple_of, info.limits.pixels));
}

export async function take(file: Blob, info: Info, model: Model): Promise<void> {
  try {
    takeShape(await beginFrom(file), info, model);
    problems.set(({ init_image: _, ...others }) => others);
    say("The next picture begins from this one.");
  } catch (error) {
    report(error);
  }
}

export function BeginField({ info, model }: { info: Info; model: Model }) {
  const from = useStore(begin, (b) => b);
  const problem = useStore(problems, (p) => p.init_image);
  const input = useRef<HTMLInputElement>(null);
  const able = info.models.some((m) => m.init_image);
  if (!able && !from) return null;
  const pick = (
    <input
      ref={input}
      class="unseen"
      type="file"
      accept={kTypes}
      tabIndex={-1}
      aria-hidden="true"
      onChange={(event) => {
        const file = event.currentTarget.files?.[0];
        event.currentTarget.value = "";
        if (file) void take(file, info, model);
      }}
    />
  );
  return (
    <fieldset class="field begin">
      <legend class="label">Begin from a picture</legend>
      {pick}
      {!from && !model.init_image && <p class="hint">{model.name.replace(/^.*\//, "")} begins from no picture: its files have nothing that reads one.</p>}
      {!from && model.init_image && (
        <button type="button" class="begin-drop" onClick={() => input.current?.click()}>
          <Icon name="picture" />
          <span>
            <span class="begin-choose">Choose a picture</span>, drop or paste it
          </span>
        </button>
      )}
      {from && <Chosen from={from} info={info} model={model} onReplace={() => input.current?.click()} />}
      <Problem id="begin-problem" text={problem} />
    </fieldset>
  );
}

function Chosen({ from, info, model, onReplace }: { from: Begin; info: Info; model: Model; onReplace: () => void }) {
  const strength = useStore(draft, (d) => d.strength);
  const width = useStore(draft, (d) => d.width) ?? model.default_width;
  const height = useStore(draft, (d) => d.height) ?? model.default_height;
  const painted = useStore(mask, (m) => m);
  const invalid = useStore(problems, (p) => p.init_image !== undefined);
  const [painting, setPainting] = useState(false);
  const address = usePicture(from.url);
  const cut = Math.abs(from.width / from.height / (width / height) - 1) > 0.02;
  return (
    <div class="begin-chosen">
      <div class="begin-plate" style={{ "--ratio": width / height } as JSX.CSSProperties}>
        <img src={address} alt="What the next picture begins from" width={width} height={height} />
        {painted && <img class="begin-mask" src={painted.overlay} alt="" />}
      </div>
      <div class="begin-side">
        <button type="button" class="quiet" onClick={() => setPainting(true)}>
          <Icon name="brush" /> {painted ? "Change the mask" : "Paint a mask"}
        </button>
        {painted && (
          <button type="button" class="quiet" onClick={() => setMask(null)}>
            No mask
          </button>
        )}
        <button type="button" class="quiet" onClick={onReplace}>
          Another
        </button>
        <button
          type="button"
          class="quiet"
          aria-invalid={invalid || undefined}
          aria-describedby={invalid ? "begin-problem" : undefined}
          onClick={() => {
            forget();
            problems.set(({ init_image: _, ...others }) => others);
            say("It begins from noise again.");
          }}
        >
          Remove
        </button>
      </div>
      <div class="begin-strength">
        <label class="label" for="strength">
          Strength
        </label>
        <input id="strength" type="range" min={0.05} max={1} step={0.05} value={strength} aria-describedby="strength-hint" onInput={(event) => edit({ strength: event.currentTarget.valueAsNumber })} />
        <output class="figure" for="strength">
          {strength.toFixed(2)}
        </output>
      </div>
      <p class="hint" id="strength-hint">
        {strength === 1 ? "All of it is drawn anew" : strength < 0.35 ? "Stays close to the picture" : strength < 0.75 ? "Keeps its outlines and colours" : "Keeps little of the picture"}
        {painted ? ", where the mask is." : "."}
        {cut && " What sticks out of the shape is cut off."}
        {cut && (
          <button type="button" class="link" onClick={() => takeShape(from, info, model)}>
            Take its shape
          </button>
        )}
      </p>
      {painting && <MaskEditor address={address} width={width} height={height} onClose={() => setPainting(false)} />}
    </div>
  );
}

// Files that are dropped on the composer, or pasted anywhere but into a field of text.
const fileOf = (data: DataTransfer | null): File | undefined => [...(data?.files ?? [])].find((file) => file.type.startsWith("image/"));

export function takeDropped(data: DataTransfer | null, info: Info | null, model: Model | null): boolean {
  const file = fileOf(data);
  if (!file || !info || !model) return false;
  if (model.init_image) void take(file, info, model);
  else notify("error", "This model begins from no picture.");
  return true;
}
