// Line drawings of one stroke; decoration, so screen readers skip them.
const kPaths = {
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 3v2M12 19v2M3 12h2M19 12h2M5.600 5.600l1.400 1.400M17 17l1.400 1.400M18.400 5.600 17 7M7 17l-1.400 1.400",
  moon: "M19.500 14.500A8 8 0 0 1 9.500 4.500a8 8 0 1 0 10 10z",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  help: "M9.200 9.200a2.900 2.900 0 1 1 4.200 2.600c-1 .5-1.400 1.100-1.400 2.200M12 17.200v.1M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18",
  gauge: "M4 18a9 9 0 1 1 16 0M12 14l4-5M12 15.200v-.1",
  close: "M6 6l12 12M18 6 6 18",
  download: "M12 4v11M7.500 10.500 12 15l4.500-4.500M5 19.500h14",
  reuse: "M5 11V9a3 3 0 0 1 3-3h11M16 3l3 3-3 3M19 13v2a3 3 0 0 1-3 3H5M8 21l-3-3 3-3",
  compare: "M12 3v18M4 6h5v12H4zM15 6h5v12h-5z",
  trash: "M5 7h14M10 7V4.500h4V7M7 7l.8 12.500h8.400L17 7M10.500 11v5M13.500 11v5",
  dice: "M5 5h14v14H5zM9 9v.1M15 9v.1M12 12v.1M9 15v.1M15 15v.1",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  left: "M14.500 5 8 12l6.500 7",
  right: "M9.500 5l6.500 7-6.500 7",
  swap: "M7 4v15M3.500 15.500 7 19l3.500-3.500M17 20V5M13.500 8.500 17 5l3.500 3.500",
  search: "M10.500 4a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13M15.500 15.500 21 21",
  studio: "M4 20l4-1 11-11-3-3L5 16zM13.500 7.500l3 3",
  archive: "M4 5h16v4H4zM5.500 9v10.500h13V9M10 13h4",
  letter: "M5 6h14M12 6v13M9 19h6",
  object: "M12 3.500 19.500 8v8.500L12 20.500 4.500 16.500V8zM4.500 8l7.500 4 7.500-4M12 12v8.500",
  check: "M5 12.500 10 17.500 19 7",
  grid: "M4.500 4.500h6v6h-6zM13.500 4.500h6v6h-6zM4.500 13.500h6v6h-6zM13.500 13.500h6v6h-6z",
  picture: "M4.500 5h15v14h-15zM4.500 16l4.500-4.500 3.500 3.500 2.500-2.500 4.500 4.500M15.500 8.500v.1",
  brush: "M19.500 4.500 10 14M8.500 13.500c-2.500 0-3.500 1.500-3.500 3.500 0 1-.5 1.800-1.500 2.500 3.500.5 7 0 7-3.500z",
  list: "M4 6.500h16M4 12h16M4 17.500h16",
} as const;

export type IconName = keyof typeof kPaths;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={kPaths[name]} />
    </svg>
  );
}
