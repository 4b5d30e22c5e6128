package main

import (
	"strings"
	"testing"
)

const printed = `goos: linux
pkg: holdfast/test/bench
BenchmarkDecryptUnpack-2   	       5	3000000000 ns/op	         1.10 over-floor	         0.45 ratio
BenchmarkImageBuild/machine-2 	       5	  1 ns/op	         0.40 ratio
PASS
ok  	holdfast/test/bench	60.0s
`

func TestAReportSaysWhichBarsAreHeld(t *testing.T) {
	results, err := parse(strings.NewReader(printed))
	if err != nil {
		t.Fatal(err)
	}
	page, err := report{Machine: "a machine", Results: results}.page()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| 500 MB decrypted and unpacked, against skopeo and tar | 0.45 | 0.50 | yes | 5 |",
		"| machine image, against mmdebstrap and mksquashfs of the same packages | 0.40 | 0.33 | **no** | 5 |",
		"| test/bench DecryptUnpack | 3e+09 ns/op, 1.1 over-floor, 0.45 ratio |",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("got\n%s\nwant the line %s", page, want)
		}
	}
}

func TestAFailedBenchmarkMakesNoReport(t *testing.T) {
	for _, text := range []string{"", "--- FAIL: BenchmarkX\n" + printed} {
		if r, err := parse(strings.NewReader(text)); err == nil {
			t.Errorf("%q: got %+v, want an error", text, r)
		}
	}
}

func TestAPictureHasABarForEachStage(t *testing.T) {
	drawn := picture(map[string]float64{"at-firmware-s": 8, "at-root-s": 8.5, "run-s": 12})
	for _, want := range []string{">firmware</text>", ">0.50 s</text>"} {
		if !strings.Contains(drawn, want) {
			t.Errorf("got\n%s\nwant %s", drawn, want)
		}
	}
	if strings.Contains(drawn, ">run</text>") {
		t.Errorf("got\n%s\nwant stages alone", drawn)
	}
}
