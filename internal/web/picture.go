package web

import "strings"

// A picture is a chain with the places of its links: side by side, or one
// above the other on a narrow screen.
type picture struct {
	Wide          bool
	Width, Height int
	Words         string // for who does not see it
	Links         []drawn
}

type drawn struct {
	link
	X, Y  int
	Label []string
	Mark  string
	First bool
}

// marks tell states apart without colours.
var marks = map[string]string{held: "✓", broken: "✗", notShown: "?"}

const (
	wideStep, tallStep  = 140, 62
	linkWidth, linkHigh = 112, 44
)

func draw(chain []link, wide bool) picture {
	p := picture{Wide: wide, Width: wideStep*len(chain) + 8, Height: 112}
	if !wide {
		p.Width, p.Height = 330, tallStep*len(chain)+8
	}
	words := []string{}
	for i, l := range chain {
		d := drawn{link: l, X: 18 + wideStep*i, Y: 58, Label: halves(l.Name), Mark: marks[l.State], First: i == 0}
		if !wide {
			d.X, d.Y, d.Label = 8, 12+tallStep*i, []string{l.Name}
		}
		p.Links = append(p.Links, d)
		words = append(words, l.Name+": "+l.State)
	}
	p.Words = strings.Join(words, "; ")
	return p
}

// halves breaks a label of several words in two.
func halves(name string) []string {
	if i := strings.LastIndexByte(name, ' '); i > 0 && len(name) > 12 {
		return []string{name[:i], name[i+1:]}
	}
	return []string{name}
}

// Below gives a place relative to a link's own.
func (d drawn) Below(dy int) int   { return d.Y + dy }
func (d drawn) Right(dx int) int   { return d.X + dx }
func (d drawn) Line(i, dy int) int { return d.Y + dy + 17*i - 17*(len(d.Label)-1) }
func (d drawn) Class() string      { return strings.ReplaceAll(d.State, " ", "") }
func (l link) Class() string       { return strings.ReplaceAll(l.State, " ", "") }
