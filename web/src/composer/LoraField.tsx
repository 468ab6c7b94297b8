import type { Info, Lora } from "../api/types";
import { draft, edit, problems } from "../state/app";
import { useStore } from "../state/store";
import { Problem } from "../ui/Field";
import { Icon } from "../ui/Icon";

export function LoraField({ info }: { info: Info }) {
  const loras = useStore(draft, (d) => d.loras);
  const problem = useStore(problems, (p) => p.loras);
  const free = info.loras.filter((name) => !loras.some((lora) => lora.name === name));
  const change = (name: string, part: Partial<Lora>) => edit({ loras: loras.map((lora) => (lora.name === name ? { ...lora, ...part } : lora)) });
  if (info.loras.length === 0 && loras.length === 0) return null;
  return (
    <fieldset class="field loras">
      <legend class="label">Adapters (LoRA)</legend>
      {loras.map((lora) => (
        <div key={lora.name} class="lora">
          <span class="lora-name">{lora.name}</span>
          <input
            type="range"
            min={-1}
            max={2}
            step={0.05}
            value={lora.strength}
            aria-label={`Strength of ${lora.name}`}
            onInput={(event) => change(lora.name, { strength: event.currentTarget.valueAsNumber })}
          />
          <output class="figure">{lora.strength.toFixed(2)}</output>
          <button type="button" class="tool small" aria-label={`Remove ${lora.name}`} onClick={() => edit({ loras: loras.filter((l) => l !== lora) })}>
            <Icon name="close" />
          </button>
        </div>
      ))}
      {free.length > 0 && (
        <select
          class="input select"
          aria-label="Add an adapter"
          value=""
          onChange={(event) => {
            const name = event.currentTarget.value;
            event.currentTarget.value = "";
            if (name) edit({ loras: [...loras, { name, strength: 1 }] });
          }}
        >
          <option value="">Add an adapter…</option>
          {free.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      )}
      <Problem id="loras-problem" text={problem} />
    </fieldset>
  );
}
