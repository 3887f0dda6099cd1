import { describe, expect, it } from 'vitest';
import { type CoatFiles, parseCoat } from '../../../src/catalog/coat.js';
import { InvalidArgumentError, InvalidDataError } from '../../../src/foundation/errors.js';

/** Two users, three coats. */
const files: Required<CoatFiles> = {
  train: '0 5 0 \n1 0 0 \n',
  truth: '1 5 2\n1 3 3\n',
  test: '0 0 2\n0 3 0\n',
  userFeatures: '1 0 1\n0 1 1\n',
  userFeatureMap: 'gender:men\ngender:women\nage:20-30',
  itemFeatures: '1 0 1 0 1 1 0\n0 1 0 1 1 0 1\n1 0 0 1 1 0 1\n',
  itemFeatureMap:
    'gender:men\ngender:women\njackettype:pea\njackettype:rain\ncolor:navy\nonfrontpage:yes\nonfrontpage:no',
};

describe('parseCoat', () => {
  it('reads matrices, one-hot features and the text of the coats', () => {
    const data = parseCoat(files);
    expect(data).toMatchObject({
      users: 2,
      items: 3,
      trainRatings: 2,
      testRatings: 2,
      userFeatureWidth: 3,
      itemFeatureWidth: 7,
    });
    expect([...data.train]).toEqual([0, 5, 0, 1, 0, 0]);
    expect([...data.truth]).toEqual([1, 5, 2, 1, 3, 3]);
    expect([...(data.test ?? [])]).toEqual([0, 0, 2, 0, 3, 0]);
    expect([...data.userFeatures]).toEqual([1, 0, 1, 0, 1, 1]);
    expect(data.userFeatureNames).toEqual(['gender:men', 'gender:women', 'age:20-30']);
    expect(data.catalog.ids()).toEqual(['coat-0', 'coat-1', 'coat-2']);
    expect(data.catalog.texts()).toEqual(['men; navy; pea', 'women; navy; rain', 'men; navy; rain']);
    expect([...data.catalog.attributeCodes('frontPage')]).toEqual([0, 1, 1]);
    const titles = data.catalog.ids().map((_, item) => data.catalog.attribute(item, 'title'));
    expect(titles).toEqual(["men's navy pea coat", "women's navy rain jacket", "men's navy rain jacket"]);
  });

  it('shows the two attributes of the paper when asked to, and keeps the gender', () => {
    const { catalog } = parseCoat(files, { attributes: 'paper' });
    expect(catalog.texts()).toEqual(['navy; pea', 'navy; rain', 'navy; rain']);
    expect(catalog.attributes).toEqual(['colour', 'type']);
    expect([...catalog.attributeCodes('gender')]).toEqual([0, 1, 0]);
  });

  it.each([
    ['other', 'other', "men's jacket"],
    ['multi', 'trench', "men's multicolor trench coat"],
    ['red', 'vests', "men's red vest"],
    ['beige', 'parkas', "men's beige parka"],
    ['gray', 'shells', "men's gray shell jacket"],
    ['constructor', 'constructor', "men's constructor constructor jacket"],
  ])('says a coat of colour %s and type %s in words', (colour, type, title) => {
    const { catalog } = parseCoat({
      ...files,
      itemFeatureMap: `gender:men\ngender:women\njackettype:rain\njackettype:${type}\ncolor:${colour}\nonfrontpage:yes\nonfrontpage:no`,
    });
    expect(catalog.attribute(2, 'title')).toBe(title);
  });

  it('does without test ratings, with CRLF, and with a byte order mark', () => {
    const { test, ...rest } = files;
    expect(parseCoat(rest)).toMatchObject({ test: undefined, testRatings: 0 });
    const windows = Object.fromEntries(
      Object.entries(files).map(([name, text]) => [name, `\ufeff${text.replaceAll('\n', '\r\n')}`]),
    );
    expect([...parseCoat(windows as unknown as CoatFiles).train]).toEqual([...parseCoat(files).train]);
  });

  it.each([
    ['a rating of 6', { train: '0 6 0\n1 0 0\n' }, 'train.ascii', 1, 2],
    ['a rating of 0 in the truth', { truth: '1 5 2\n1 0 3\n' }, 'coat_pseudoGT_ratingM.ascii', 2, 2],
    ['a fractional rating', { train: '0 5 0\n1.5 0 0\n' }, 'train.ascii', 2, 1],
    ['a word', { test: '0 0 2\n0 x 0\n' }, 'test.ascii', 2, 2],
    ['NaN', { test: 'NaN 0 2\n0 0 0\n' }, 'test.ascii', 1, 1],
    ['a hexadecimal number', { test: '0x1 0 2\n0 0 0\n' }, 'test.ascii', 1, 1],
    ['a short line', { train: '0 5 0\n1 0\n' }, 'train.ascii', 2, 3],
    ['a long line', { truth: '1 5 2\n1 3 3 4\n' }, 'coat_pseudoGT_ratingM.ascii', 2, 4],
    ['an empty line within', { train: '0 5 0\n\n1 0 0\n' }, 'train.ascii', 2, 1],
    ['a line too few', { truth: '1 5 2\n' }, 'coat_pseudoGT_ratingM.ascii', 2, undefined],
    ['a line too many', { truth: '1 5 2\n1 3 3\n1 1 1\n' }, 'coat_pseudoGT_ratingM.ascii', 3, undefined],
    ['an empty file', { train: '' }, 'train.ascii', 1, undefined],
    ['no 1 in an attribute', { userFeatures: '1 0 1\n0 0 1\n' }, 'user_item_features/user_features.ascii', 2, 1],
    ['two 1s in an attribute', { userFeatures: '1 0 1\n1 1 1\n' }, 'user_item_features/user_features.ascii', 2, 2],
    ['a 2 in a feature', { userFeatures: '2 0 1\n0 1 1\n' }, 'user_item_features/user_features.ascii', 1, 1],
    [
      'features of one coat too few',
      { itemFeatures: '1 0 1 0 1 1 0\n0 1 0 1 1 0 1\n' },
      'user_item_features/item_features.ascii',
      3,
      undefined,
    ],
    [
      'a map line without a colon',
      { userFeatureMap: 'gender:men\ngender women\nage:20-30' },
      'user_item_features/user_features_map.txt',
      2,
      1,
    ],
    [
      'a map line twice',
      { userFeatureMap: 'gender:men\ngender:men\nage:20-30' },
      'user_item_features/user_features_map.txt',
      2,
      8,
    ],
    [
      'a map without colours',
      { itemFeatureMap: files.itemFeatureMap.replace('color:', 'colour:') },
      'user_item_features/item_features_map.txt',
      8,
      undefined,
    ],
  ] as [string, Partial<CoatFiles>, string, number, number | undefined][])(
    'refuses %s, naming file, line and column',
    (_, change, source, line, column) => {
      let error: unknown;
      try {
        parseCoat({ ...files, ...change });
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(InvalidDataError);
      expect(error).toMatchObject({ source, line, column });
      const place = column === undefined ? `${source}:${line}: ` : `${source}:${line}:${column}: `;
      expect((error as Error).message.startsWith(place)).toBe(true);
    },
  );

  it('calls the files as it is told', () => {
    const run = () => parseCoat({ ...files, train: '9' }, { sources: { train: '/data/mine.txt' } });
    expect(run).toThrow(/^\/data\/mine\.txt:1:1: /);
  });

  it('refuses a file that is not given, and unknown options', () => {
    expect(() => parseCoat({ ...files, truth: undefined } as never)).toThrow(InvalidArgumentError);
    expect(() => parseCoat(files, { attribute: 'paper' } as never)).toThrow(InvalidArgumentError);
  });
});
