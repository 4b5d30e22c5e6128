package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/internal/api"
)

// shown is what a policy was told of a machine, as far as people want it.
type shown struct {
	Known      bool   // a decision about the evidence is kept
	TEE        string // kind of the evidence
	Maker      string // of the TPM
	Chip       string
	Image      string // by its name
	Status     string // trusted, expired, revoked; empty: no image of ours
	SecureBoot string // on, off, or nothing
	Programs   []string
	Sections   []string // of the kernel image
	Claims     []claim
	Entries    []string // names in the configuration document
	Policy     int64
	Engine     string

	asked question
}

type claim struct{ Name, Value string }

// A question is a recorded one, read as far as the pages speak of it.
type question struct {
	tee    string
	claims map[string]any
	init   struct {
		Digest string
		Data   map[string]string
	}
	data struct {
		Images         map[string]api.KnownImage
		Reference      map[string]api.ReferenceValues
		Configurations map[string]api.Configuration
	}
	allow   bool
	reasons []string
}

func readQuestion(d api.RecordedDecision) (q question) {
	var in struct {
		TEE      string         `json:"tee"`
		Claims   map[string]any `json:"claims"`
		InitData struct {
			Digest string            `json:"digest"`
			Data   map[string]string `json:"data"`
		} `json:"init_data"`
	}
	// What does not fit is not shown: these are the broker's own records.
	_ = json.Unmarshal(d.Input, &in)
	_ = json.Unmarshal(d.Data, &q.data)
	q.tee, q.claims, q.init.Digest, q.init.Data = in.TEE, in.Claims, in.InitData.Digest, in.InitData.Data
	q.allow, q.reasons = d.Allow, d.Reasons
	return q
}

// text is a claim as words, empty when there is none.
func (q question) text(name string) string {
	switch v := q.claims[name].(type) {
	case nil:
		return ""
	case string:
		return word(v)
	default:
		raw, _ := json.Marshal(v)
		return word(string(raw))
	}
}

// image is what is known of the image that the evidence shows.
func (q question) image() (value string, known api.KnownImage, ok bool) {
	for _, name := range []string{"pcr11", "measurement", "rtmr_2"} {
		if known, ok := q.data.Images[q.text(name)]; ok {
			return q.text(name), known, true
		}
	}
	for value, known := range q.data.Images {
		if mentions(q.claims, value) {
			return value, known, true
		}
	}
	return "", known, false
}

func mentions(claims map[string]any, value string) bool {
	for _, v := range claims {
		switch v := v.(type) {
		case string:
			if v == value {
				return true
			}
		case map[string]any:
			if mentions(v, value) {
				return true
			}
		}
	}
	return false
}

// learn adds what a decision tells.
func (a *asking) learn(d api.RecordedDecision) {
	if d.Kind == "resource" {
		a.decided(d)
		return
	}
	if d.Kind != "attestation" {
		return
	}
	q := readQuestion(d)
	s := shown{Known: true, TEE: word(q.tee), Policy: d.Policy, Engine: word(d.Engine), asked: q}
	if tpm, ok := q.claims["tpm"].(map[string]any); ok {
		s.Maker, s.Chip = makerOf(fmt.Sprint(tpm["manufacturer"])), word(fmt.Sprint(tpm["model"]))
	}
	if _, known, ok := q.image(); ok {
		s.Image, s.Status = word(known.Image), word(known.Status)
	}
	if on, ok := q.claims["secure_boot"].(bool); ok {
		s.SecureBoot = map[bool]string{true: "on", false: "off"}[on]
	}
	if list, ok := q.claims["boot_programs"].([]any); ok {
		for _, p := range list[:min(len(list), maxList)] {
			s.Programs = append(s.Programs, word(fmt.Sprint(p)))
		}
	}
	if all, ok := q.claims["uki_sections"].(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(all))[:min(len(all), maxList)] {
			s.Sections = append(s.Sections, word(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.claims)) {
		if text := q.text(name); text != "" && len(s.Claims) < 4*maxList {
			s.Claims = append(s.Claims, claim{word(name), text})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.init.Data))[:min(len(q.init.Data), maxList)] {
		s.Entries = append(s.Entries, word(name))
	}
	a.Evidence = s
}

// decided adds to a get which policies decided.
func (a *asking) decided(d api.RecordedDecision) {
	var data struct {
		Plugin string   `json:"plugin"`
		Path   []string `json:"resource-path"`
	}
	_ = json.Unmarshal(d.Data, &data)
	path := strings.Join(data.Path, "/")
	for i, g := range a.Gets {
		if g.Allowed == d.Allow && g.Policy == notKept && (g.Resource == path || g.Resource == data.Plugin+"/"+path) {
			a.Gets[i].Policy = d.Policy
		}
	}
}

// makers are TPM vendor IDs as their own letters (TCG Vendor ID Registry 1.07);
// certificates have them in hex.
func makerOf(text string) string {
	hexID, ok := strings.CutPrefix(text, "id:")
	var id [4]byte
	if !ok {
		return word(text)
	}
	if n, err := fmt.Sscanf(hexID, "%02x%02x%02x%02x", &id[0], &id[1], &id[2], &id[3]); n != 4 || err != nil {
		return word(text)
	}
	letters := strings.TrimRight(string(id[:]), "\x00 ")
	for _, c := range letters {
		if c < '0' || c > 'z' {
			return word(text)
		}
	}
	return letters
}
