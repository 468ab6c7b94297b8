import { usePicture } from "./picture";

interface Props {
  url: string | null;
  alt: string;
  width: number;
  height: number;
  class?: string;
  eager?: boolean;
}

// A stored picture; its place is kept while it loads.
export function Image({ url, alt, width, height, class: name = "", eager = false }: Props) {
  const address = usePicture(url);
  return <img class={name} src={address} alt={alt} width={width} height={height} loading={eager ? "eager" : "lazy"} decoding="async" draggable={false} />;
}
