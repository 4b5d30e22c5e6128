package debtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// AddBulk adds packages that hold size bytes of files to a suite, and gives
// their names: noise percent of them do not compress, as media do not, and the
// rest does, as programs do; an eighth of that in many small files.
func (a *Archive) AddBulk(suite string, size, noise int) (names []string) {
	const share = 64 << 20
	for i := 0; size > 0; i++ {
		name := fmt.Sprintf("bulk%d", i)
		names = append(names, name)
		a.Add(suite, "Package: "+name, bulkFiles(name, uint64(i), min(size, share), noise)...)
		size -= share
	}
	return names
}

const smallFile = 6000

func bulkFiles(name string, seed uint64, size, noise int) []File {
	dir := "./srv/" + name + "/"
	loud := size / 100 * noise
	files := []File{{Name: "./srv/"}, {Name: dir}, {Name: dir + "noise", Content: Noise(seed, loud)}}
	text := prose(seed, size-loud)
	for i := 0; len(text) > max((size-loud)/8*7, smallFile); i++ {
		files = append(files, File{Name: fmt.Sprintf("%s%d", dir, i), Content: text[:smallFile]})
		text = text[smallFile:]
	}
	return append(files, File{Name: dir + "prose", Content: text})
}

// Noise does not compress.
func Noise(seed uint64, size int) string {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(b)
	return string(b)
}

// prose compresses to about a half, as programs do.
func prose(seed uint64, size int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for b.Len() < size {
		fmt.Fprintf(&b, "%x anchor chain %d holds fast\n", r.Uint64(), r.IntN(1000))
	}
	return b.String()[:size]
}
