import type { ComponentChildren } from "preact";

export interface Choice<T extends string> {
  value: T;
  label: ComponentChildren;
  hint?: string;
}

interface Props<T extends string> {
  legend: string;
  name: string; // of the radio group
  value: T | null;
  choices: readonly Choice<T>[];
  onChange: (value: T) => void;
  class?: string;
}

// One of a few, as radio buttons that look like one control.
export function Segmented<T extends string>({ legend, name, value, choices, onChange, class: extra = "" }: Props<T>) {
  return (
    <fieldset class={`segmented ${extra}`}>
      <legend class="unseen">{legend}</legend>
      {choices.map((choice) => (
        <label key={choice.value} class="segment" title={choice.hint}>
          <input type="radio" name={name} value={choice.value} checked={choice.value === value} onChange={() => onChange(choice.value)} />
          <span class="segment-face">{choice.label}</span>
        </label>
      ))}
    </fieldset>
  );
}
