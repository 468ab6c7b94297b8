import { Icon } from "../ui/Icon";

interface Props {
  id: string;
  label: string;
  colours: readonly string[]; // "#RRGGBB"
  limit: number;
  onChange: (colours: string[]) => void;
}

export function Palette({ id, label, colours, limit, onChange }: Props) {
  return (
    <div class="field">
      <span class="label" id={`${id}-label`}>
        {label}
      </span>
      <div class="palette" role="group" aria-labelledby={`${id}-label`}>
        {colours.map((colour, i) => (
          <span key={i} class="swatch">
            <input
              type="color"
              value={colour.toLowerCase()}
              aria-label={`Colour ${i + 1}: ${colour}`}
              onInput={(event) => onChange(colours.map((c, j) => (j === i ? event.currentTarget.value.toUpperCase() : c)))}
            />
            <button type="button" class="swatch-remove" aria-label={`Remove colour ${i + 1}`} onClick={() => onChange(colours.filter((_, j) => j !== i))}>
              <Icon name="close" />
            </button>
          </span>
        ))}
        {colours.length < limit && (
          <button type="button" class="tool small" aria-label={`Add a colour to: ${label}`} onClick={() => onChange([...colours, "#A8481F"])}>
            <Icon name="plus" />
          </button>
        )}
      </div>
    </div>
  );
}
