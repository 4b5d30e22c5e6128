package web

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/api"
)

// The states of a link.
const (
	held     = "held"
	broken   = "broken"
	notShown = "not shown"
)

// A link is one of the chain from a recipe to a resource: each rests on those
// before it.
type link struct {
	Name, State string
	Words       []string
	Values      []compared
}

// A compared value is what should be shown, and what was.
type compared struct {
	Name, Reference, Shown string
	Same                   bool
}

// chainOf tells how far the chain held when the machine asked.
func chainOf(a *asking, images []api.TrustedImage) []link {
	e := a.Evidence
	image := imageLink(a)
	return []link{recipeLink(e, images), image, firmwareLink(a, image.State), configurationLink(a), evidenceLink(a), policyLink(a), resourceLink(a)}
}

// recipeLink is about who stands behind an image's values.
func recipeLink(e shown, images []api.TrustedImage) link {
	l := link{Name: "Recipe and lock", State: notShown, Words: []string{"No trusted image was shown, so there is no recipe to look for."}}
	_, known, ok := e.asked.image()
	if !ok {
		return l
	}
	for _, i := range images {
		if i.Values.UKI == known.UKI {
			l.State, l.Words = held, []string{fmt.Sprintf("Reference values of “%s” are signed by a key that this broker's root certifies, so its builder vouches for what the lock made.", word(i.Values.Image))}
			l.Values = []compared{{"Kernel image (UKI)", word(i.Values.UKI), word(known.UKI), true}}
			if i.Values.RootHash != "" {
				l.Words = append(l.Words, "Its root has the hash "+word(i.Values.RootHash)+".")
			}
			return l
		}
	}
	l.Words = []string{"The signed reference values that counted then are not kept here any more."}
	return l
}

func imageLink(a *asking) link {
	l, q := link{Name: "Image", State: notShown}, a.Evidence.asked
	if !a.Evidence.Known {
		l.Words = unknownWords(a)
		return l
	}
	name, value := "Measurement", q.text("measurement")
	switch q.tee {
	case "tpm", "az-snp-vtpm", "az-tdx-vtpm":
		name, value = "PCR 11, the kernel image", q.text("pcr11")
	case "tdx":
		name, value = "RTMR 2, what was booted", q.text("rtmr_2")
	}
	shownValue, known, ok := q.image()
	if !ok {
		l.State, l.Words = broken, []string{"No trusted image shows this."}
		l.Values = []compared{{name, strings.Join(expectedImages(q), " or "), value, false}}
		return l
	}
	l.State, l.Words = held, []string{fmt.Sprintf("It booted “%s”, which is trusted.", word(known.Image))}
	l.Values = []compared{{name, word(shownValue), word(shownValue), true}}
	switch known.Status {
	case api.ImageRevoked:
		l.State, l.Words = broken, []string{fmt.Sprintf("It booted “%s”, which was revoked %s: %s", word(known.Image), word(known.At), plain(known.Reason, maxReason))}
	case api.ImageExpired:
		l.State, l.Words = broken, []string{fmt.Sprintf("It booted “%s”, which was good until %s.", word(known.Image), word(known.At))}
	}
	return l
}

func expectedImages(q question) (all []string) {
	for value, known := range q.data.Images {
		if known.Status == api.ImageTrusted {
			all = append(all, fmt.Sprintf("%s (%s)", word(value), word(known.Image)))
		}
	}
	slices.Sort(all)
	if n := len(all); n > 3 {
		all = append(all[:3], fmt.Sprintf("one of %d more", n-3))
	}
	if len(all) == 0 {
		all = []string{"no image is trusted"}
	}
	return all
}

// verifier is the other one where it attested.
func (a *asking) verifier() string {
	if a.Issuer == "" {
		return "another verifier"
	}
	return a.Issuer
}

func unknownWords(a *asking) []string {
	switch {
	case a.Foreign:
		return []string{fmt.Sprintf("It attested at %s, whose token counts here: this broker never saw its evidence.", a.verifier())}
	case !a.Proven:
		return []string{"Nothing that it said could be verified."}
	}
	return []string{"What it showed is not kept here any more; the audit log has its PCRs."}
}

// zeroPCR is what was never extended.
var zeroPCR = strings.Repeat("0", 64)

// firmwareLink is about what started the image: PCRs 4 and 7 belong together.
func firmwareLink(a *asking, image string) link {
	l, q := link{Name: "Firmware and boot", State: notShown}, a.Evidence.asked
	if !a.Evidence.Known {
		l.Words = unknownWords(a)
		return l
	}
	_, known, ok := q.image()
	if q.text("pcr04") == "" || !ok {
		l.Words = []string{"This kind of evidence tells of firmware only within its measurement."}
		if q.text("pcr04") != "" {
			l.Words = []string{"Without a trusted image there is nothing to compare with."}
		}
		if debug, has := q.claims["policy_debug_allowed"].(bool); has && debug {
			l.State, l.Words = broken, []string{"The machine may be debugged by its host."}
		}
		return l
	}
	l.State = broken
	for _, id := range known.References {
		for _, f := range q.data.Reference[id].Firmware {
			values := firmwareValues(q, f)
			if l.Values == nil || allSame(values) {
				l.Values = values
			}
			if allSame(values) && f.SecureBoot {
				l.State, l.Words = held, []string{"Firmware, boot loader and Secure Boot keys are those that the image was built for."}
			}
		}
	}
	if l.State == broken {
		l.Words = []string{"It was started otherwise than the image's reference values say."}
	}
	if len(l.Values) == 0 {
		l.State, l.Words = notShown, []string{"The reference values that counted then are not kept."}
	}
	for _, n := range []string{"12", "13"} {
		if v := q.text("pcr" + n); v != zeroPCR {
			l.State = broken
			l.Words = append(l.Words, "Something was added at boot: PCR "+n+" must be zero.")
			l.Values = append(l.Values, compared{"PCR " + n, zeroPCR, v, false})
		}
	}
	if a.Evidence.SecureBoot == "off" {
		l.State, l.Words = broken, append(l.Words, "Secure Boot is off: the firmware checked no signature.")
	}
	if l.State == held && image == broken {
		l.Words = append(l.Words, "But the image itself is not to be trusted.")
	}
	return l
}

func firmwareValues(q question, f api.FirmwareReference) []compared {
	return []compared{
		{"PCR 4, what the firmware started", word(f.PCRs["4"]), q.text("pcr04"), f.PCRs["4"] == q.text("pcr04")},
		{"PCR 7, Secure Boot keys and state", word(f.PCRs["7"]), q.text("pcr07"), f.PCRs["7"] == q.text("pcr07")},
	}
}

func allSame(values []compared) bool {
	return !slices.ContainsFunc(values, func(c compared) bool { return !c.Same })
}

func configurationLink(a *asking) link {
	l, q := link{Name: "Node and configuration", State: notShown}, a.Evidence.asked
	switch {
	case !a.Evidence.Known && !a.Foreign && !a.Proven:
		l.Words = unknownWords(a)
		if a.Digest != "" {
			l.Words = append(l.Words, "It says that its configuration is "+a.Digest+".")
		}
	case a.Digest == "":
		l.Words = []string{"It sent no configuration."}
		if a.Proven {
			l.State = broken
		}
	case !a.Evidence.Known:
		l.Words = []string{"It has the configuration " + a.Digest + "."}
	default:
		c, ok := q.data.Configurations[q.init.Digest]
		l.State, l.Words = broken, []string{"Nobody authorised this configuration."}
		l.Values = []compared{{"Configuration", "one that an administrator allowed", word(q.init.Digest), false}}
		if ok {
			l.State, l.Words = held, []string{fmt.Sprintf("An administrator authorised it on %s, for %s.", c.Since.UTC().Format("2 January 2006"), strings.Join(plainAll(c.Resources, maxWord), ", "))}
			l.Values = []compared{{"Configuration", word(c.Digest), word(q.init.Digest), true}}
		}
	}
	return l
}

func evidenceLink(a *asking) link {
	l := link{Name: "Evidence", State: broken}
	switch {
	case a.Foreign:
		l.State, l.Words = notShown, unknownWords(a)
	case a.Proven:
		l.State, l.Words = held, []string{"Signed by a device whose maker this broker trusts, for this very session and key."}
		if a.Evidence.Chip != "" {
			l.Words = append(l.Words, fmt.Sprintf("TPM of %s, %s.", a.Evidence.Maker, a.Evidence.Chip))
		}
		if len(a.Devices) > 0 {
			l.Words = append(l.Words, "Beside it, each affirmed by the policy of its class: "+strings.Join(a.Devices, ", ")+".")
		}
	default:
		l.Words = append([]string{"It proved nothing:"}, a.Reasons...)
	}
	if a.Warning != "" {
		l.State = broken
		l.Words = append(l.Words, a.Warning)
	}
	return l
}

func policyLink(a *asking) link {
	l := link{Name: "Policy", State: notShown, Words: []string{"It was not asked: there was nothing to judge."}}
	if !a.Evidence.Known && !a.Proven || a.Foreign {
		if a.Foreign {
			l.Words = []string{"It was judged by " + a.verifier() + ", by a policy that is not known here."}
		}
		return l
	}
	by := "the attestation policy"
	if a.Evidence.Known {
		by += ", " + versionWords(a.Evidence.Policy)
	}
	if a.Allowed {
		l.State, l.Words = held, []string{"Affirmed by " + by + "."}
		return l
	}
	l.State, l.Words = broken, append([]string{"Refused by " + by + ":"}, a.Reasons...)
	return l
}

func versionWords(n int64) string {
	switch n {
	case notKept:
		return "version not kept"
	case 0:
		return "as shipped"
	}
	return fmt.Sprintf("version %d", n)
}

func resourceLink(a *asking) link {
	l := link{Name: "Resource", State: notShown, Words: []string{"It came to none."}}
	given, denied := a.Given(), a.Denied()
	if len(given)+len(denied) == 0 {
		if a.Allowed {
			l.Words = []string{"It asked for none."}
		}
		return l
	}
	l.State, l.Words = held, nil
	if len(denied) > 0 {
		l.State = broken
	}
	for _, g := range denied[:min(len(denied), maxList)] {
		l.Words = append(l.Words, "Refused "+g.Resource+": "+strings.Join(g.Reasons, "; "))
	}
	for _, g := range given[:min(len(given), maxList)] {
		l.Words = append(l.Words, g.Done()+" "+g.Name()+".")
	}
	return l
}
