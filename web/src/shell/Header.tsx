import { bytes } from "../format/format";
import { link, machine, reconnect } from "../state/app";
import { route } from "../state/route";
import { useStore } from "../state/store";
import { MachinePanel, speedWords } from "../machine/MachinePanel";
import { Icon } from "../ui/Icon";
import { helpOpen, machineOpen } from "./keys";
import { nextTheme, theme } from "./theme";

const kThemeWords = { auto: "as the system", light: "light", dark: "dark" } as const;
const kThemeIcons = { auto: "auto", light: "sun", dark: "moon" } as const;

export function Header() {
  const where = useStore(route, (r) => (r.view === "picture" ? r.from : r.view));
  const shade = useStore(theme, (t) => t);
  const open = useStore(machineOpen, (m) => m);
  const last = useStore(machine, (m) => m.readings.at(-1));
  return (
    <header class="bar">
      <a class="mark" href="#studio" aria-label="Intaglio, studio">
        Intaglio
      </a>
      <nav class="views" aria-label="Views">
        <a href="#studio" aria-current={where === "studio" ? "page" : undefined}>
          <Icon name="studio" /> Studio
        </a>
        <a href="#archive" aria-current={where === "archive" ? "page" : undefined}>
          <Icon name="archive" /> Archive
        </a>
      </nav>
      <div class="bar-tools">
        <button type="button" class="tool gauge" aria-expanded={open} aria-controls={open ? "machine" : undefined} onClick={() => machineOpen.set(!open)}>
          <Icon name="gauge" />
          <span class="unseen">Speed and memory</span>
          <span class="gauge-words figure">
            {last ? `${last.stepsPerSecond === null ? "" : `${speedWords(last.stepsPerSecond)} · `}${last.resident === null ? "" : bytes(last.resident)}` : ""}
          </span>
        </button>
        <button type="button" class="tool" aria-label={`Colours: ${kThemeWords[shade]}. Change to ${kThemeWords[nextTheme(shade)]}.`} title={`Colours: ${kThemeWords[shade]}`} onClick={() => theme.set(nextTheme)}>
          <Icon name={kThemeIcons[shade]} />
        </button>
        <button type="button" class="tool" aria-label="Keys and help" title="Keys (?)" onClick={() => helpOpen.set(true)}>
          <Icon name="help" />
        </button>
      </div>
      {open && <MachinePanel />}
    </header>
  );
}

// Says when the server is gone, and that nothing is lost.
export function LinkBar() {
  const now = useStore(link, (l) => l);
  return (
    <div class="link" role="status">
      {now === "waiting" && (
        <p>
          The server does not answer. Trying again by itself; your prompt is kept.
          <button type="button" class="quiet" onClick={reconnect}>
            Try now
          </button>
        </p>
      )}
    </div>
  );
}
