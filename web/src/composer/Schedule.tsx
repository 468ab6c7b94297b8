import type { Info, Model } from "../api/types";
import { draft, edit, problems } from "../state/app";
import { useStore } from "../state/store";
import { NumberField, TextField } from "../ui/Field";
import { PassesField } from "./PassesField";
import { SmallField } from "./SmallField";

// The model, and how many steps it takes: its own number, a preset's, or yours.
export function Schedule({ info, model }: { info: Info; model: Model }) {
  const schedule = useStore(draft, (d) => d.schedule);
  const preset = useStore(draft, (d) => d.preset);
  const steps = useStore(draft, (d) => d.steps);
  const guidance = useStore(draft, (d) => d.guidance);
  const wrong = useStore(problems, (p) => p);
  const known = schedule !== "preset" || model.presets.some((p) => p.name === preset);
  const value = !known ? "own" : schedule === "preset" ? `preset:${preset}` : schedule;
  const choose = (choice: string) => {
    if (choice.startsWith("preset:")) edit({ schedule: "preset", preset: choice.slice(7) });
    else edit({ schedule: choice as "own" | "steps", steps: steps ?? model.default_steps });
  };
  return (
    <>
      <div class="pair">
        <div class="field">
          <label class="label" for="model">
            Model
          </label>
          <select id="model" class="input select" value={model.name} onChange={(event) => edit({ model: event.currentTarget.value, width: null, height: null, schedule: "own" })}>
            {info.models.map((m) => (
              <option key={m.name} value={m.name}>
                {m.name.replace(/^.*\//, "")}
              </option>
            ))}
          </select>
        </div>
        <div class="field">
          <label class="label" for="schedule">
            Steps
          </label>
          <select id="schedule" class="input select" value={value} onChange={(event) => choose(event.currentTarget.value)}>
            <option value="own">{model.default_steps}, standard</option>
            {model.presets.map((p) => (
              <option key={p.name} value={`preset:${p.name}`}>
                {p.steps}, {p.name.replace(/_\d+$/, "").toLowerCase()}
              </option>
            ))}
            <option value="steps">Your own…</option>
          </select>
        </div>
      </div>
      {schedule === "steps" && (
        <NumberField id="steps" label="Number of steps" value={steps} min={1} max={info.limits.steps} stepper problem={wrong.steps} onChange={(n) => edit({ steps: n })} />
      )}
      <PassesField model={model} />
      <SmallField model={model} />
      {model.guidance && (
        <TextField id="guidance" label="Guidance" value={guidance} placeholder="standard, or 7x45,3x3" problem={wrong.guidance} onChange={(text) => edit({ guidance: text })} />
      )}
    </>
  );
}
