package recipe

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/deb"
)

func lockOf(names ...string) *Lock {
	l := &Lock{}
	for _, n := range names {
		l.Packages = append(l.Packages, deb.Pin{Name: n})
	}
	return l
}

func TestPackagesAreSplitIntoLayers(t *testing.T) {
	lock := lockOf("gcc-12-base", "libatomic1", "libc6", "libcrypt1", "libgcc-s1", "redis-server", "redis-tools")
	for _, test := range []struct {
		name   string
		layers [][]string
		want   string
	}{
		{"by default", nil, "base: gcc-12-base libc6 libcrypt1 libgcc-s1; dependencies: libatomic1 redis-tools; packages: redis-server"},
		{"as asked", [][]string{{"redis-tools", "libc6"}, {"libatomic1"}},
			"layer 1: libc6 redis-tools; layer 2: libatomic1; packages: gcc-12-base libcrypt1 libgcc-s1 redis-server"},
		{"without a rest", [][]string{{"gcc-12-base", "libatomic1", "libc6", "libcrypt1", "libgcc-s1", "redis-server", "redis-tools"}},
			"layer 1: gcc-12-base libatomic1 libc6 libcrypt1 libgcc-s1 redis-server redis-tools"},
	} {
		parts, err := (&Recipe{Packages: []string{"redis-server"}, Layers: test.layers}).Parts(lock)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range parts {
			text := p.Name + ":"
			for _, pin := range p.Packages {
				text += " " + pin.Name
			}
			got = append(got, text)
		}
		if strings.Join(got, "; ") != test.want {
			t.Errorf("%s: got  %s\nwant %s", test.name, strings.Join(got, "; "), test.want)
		}
	}
	if _, err := (&Recipe{Layers: [][]string{{"libc7"}}}).Parts(lock); err == nil || !strings.Contains(err.Error(), "libc7") {
		t.Errorf("got %v, want the package that is not there named", err)
	}
}

func TestLayersThatCannotBeAreRefused(t *testing.T) {
	many := strings.Repeat("[a-package], ", 17)
	for layers, want := range map[string]string{
		"[[libc6], [libc6]]":   "libc6 is named twice",
		"[[]]":                 "an empty list",
		"[[LIBC]]":             `layers "LIBC"`,
		"[libc6]":              "want a list",
		"[" + many + "[last]]": "18 lists",
	} {
		_, err := Load(write(t, fmt.Sprintf("name: a\nsuite: bookworm\narchitecture: amd64\npackages: [b1]\nlayers: %s\n", layers)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: got %v, want %q", layers, err, want)
		}
	}
}
