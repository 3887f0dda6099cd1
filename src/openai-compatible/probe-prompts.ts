import { Catalog } from '../catalog/catalog.js';
import { renderTable1 } from '../oracle/prompt.js';
import type { TemplateName } from './servers.js';

/** Invented songs: the probe tells a server nothing of the user's. */
const SONGS = [
  'Paper Lanterns; Nightfall; The Harbour Lights',
  'Slow River; Evening Train; Anna Moss',
  'Glass Mountain; Echo Valley; Northern Sky',
  'Winter Garden; Quiet Rooms; Clara Stone',
  'Copper Wire; Machines; The Static Hearts',
  'Golden Hour; Summer Letters; Milo Reyes',
  'Last Bus Home; Concrete; District Nine',
  'Falling Upward; Gravity; Sons of Orion',
  'Sea of Glass; Tidal; Marina Vale',
  'Old Photographs; Attic; James Alder',
  'Velvet Morning; Sunrise Songs; Iris Lane',
  'Broken Compass; True North; The Wanderers',
  'Silver Thread; Weaver; Lotte Berg',
];

/** Table 1 about invented songs, as the oracle will write it about the user's items: 10 candidates after 3 listens. */
export function probePrompt(template: TemplateName): string {
  const items = SONGS.map((song, i) => {
    const [title = '', album = '', artist = ''] = song.split('; ');
    return { id: `song-${i}`, title, album, artist };
  });
  const catalog = Catalog.fromItems(items, {
    scenario: 'music',
    itemNoun: 'track',
    behavior: 'listening',
    attributes: ['title', 'album', 'artist'],
  });
  const candidates = Array.from({ length: 10 }, (_, i) => i + 3);
  return renderTable1({ catalog, history: [0, 1, 2], candidates, mode: template }).text;
}

/** A text that labels may follow. */
export const PROBE_PREFIX = 'The user will select';

/** Two texts that no model finds equally likely. */
export const PROBE_CONTINUATIONS: readonly string[] = [' a', ' the blue bicycle'];
