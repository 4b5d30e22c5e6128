package quoted

import "testing"

func FuzzWords(f *testing.F) {
	for _, text := range []string{"a b", `'a b' "c\x20d" e\ f`, `a\u00e9`, `"`, `\`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, err := Words(text)
		if err == nil && len(words) > len(text) {
			t.Errorf("got %d words of %d bytes", len(words), len(text))
		}
	})
}
