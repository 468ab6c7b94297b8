import type { ComponentChildren } from "preact";
import { Icon } from "./Icon";

// Under a field, and read with it (aria-describedby).
export function Problem({ id, text }: { id: string; text: string | undefined }) {
  return text ? (
    <p class="problem" id={id}>
      {text}
    </p>
  ) : null;
}

interface NumberProps {
  id: string;
  label: ComponentChildren;
  value: number | null;
  placeholder?: string;
  min: number;
  max: number;
  step?: number;
  stepper?: boolean;
  problem?: string | undefined;
  problemAt?: string | undefined; // id of a message that others share with it
  onChange: (value: number | null) => void;
}

export function NumberField({ id, label, value, placeholder, min, max, step = 1, stepper = false, problem, problemAt, onChange }: NumberProps) {
  const message = problemAt ?? (problem ? `${id}-problem` : undefined);
  const move = (by: number) => onChange(Math.min(max, Math.max(min, (value ?? min) + by)));
  return (
    <div class="field number">
      <label class="label" for={id}>
        {label}
      </label>
      <div class="number-row">
        {stepper && (
          <button type="button" class="tool small" aria-label="Less" tabIndex={-1} disabled={(value ?? min) <= min} onClick={() => move(-step)}>
            <Icon name="minus" />
          </button>
        )}
        <input
          id={id}
          class="input"
          type="number"
          inputMode="numeric"
          value={value ?? ""}
          placeholder={placeholder}
          min={min}
          max={max}
          step={step}
          aria-invalid={message ? true : undefined}
          aria-describedby={message}
          onInput={(event) => onChange(event.currentTarget.value === "" ? null : event.currentTarget.valueAsNumber)}
        />
        {stepper && (
          <button type="button" class="tool small" aria-label="More" tabIndex={-1} disabled={(value ?? min) >= max} onClick={() => move(step)}>
            <Icon name="plus" />
          </button>
        )}
      </div>
      <Problem id={`${id}-problem`} text={problem} />
    </div>
  );
}

interface TextProps {
  id: string;
  label: ComponentChildren;
  value: string;
  placeholder?: string;
  rows?: number; // more than one: an area that grows
  problem?: string | undefined;
  onChange: (value: string) => void;
}

export function TextField({ id, label, value, placeholder, rows = 1, problem, onChange }: TextProps) {
  const shared = {
    id,
    value,
    placeholder,
    "aria-invalid": problem ? true : undefined,
    "aria-describedby": problem ? `${id}-problem` : undefined,
  } as const;
  return (
    <div class="field">
      <label class="label" for={id}>
        {label}
      </label>
      {rows > 1 ? (
        <textarea {...shared} class="input area" rows={rows} onInput={(event) => onChange(event.currentTarget.value)} />
      ) : (
        <input {...shared} class="input" type="text" autocomplete="off" onInput={(event) => onChange(event.currentTarget.value)} />
      )}
      <Problem id={`${id}-problem`} text={problem} />
    </div>
  );
}
