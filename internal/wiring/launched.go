package wiring

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/keys"
	"holdfast/internal/proof"
	"holdfast/internal/sign"
)

// A Launch is how an image is launched on confidential hardware, as an
// administrator measured or computed it.
type Launch struct {
	Image string
	// Base are signed reference values to add to; nil when the image was built
	// elsewhere and has none.
	Base []byte
	SNP  []api.SNPReference
	TDX  []api.TDXReference
}

// Launched signs reference values that hold the launch, as broker trust takes
// them.
func Launched(ring *keys.Ring, l Launch) ([]byte, error) {
	values := &api.ReferenceValues{Image: l.Image, Firmware: []api.FirmwareReference{}}
	if l.Base != nil {
		var err error
		if values, err = proof.OpenReference(l.Base, ring.RootPool(), time.Now()); err != nil {
			return nil, err
		}
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	values.SNP, values.TDX = append(values.SNP, l.SNP...), append(values.TDX, l.TDX...)
	subject := sign.Subject{Name: values.Image}
	if measured, _ := hex.DecodeString(l.measurement()); len(measured) == 48 {
		subject.Digest = map[string]string{"sha384": l.measurement()}
	}
	statement, err := sign.NewStatement(api.ReferenceType, values, subject)
	if err != nil {
		return nil, err
	}
	envelope, err := sign.Seal(statement, ring.Statements())
	if err != nil {
		return nil, err
	}
	raw, err := json.MarshalIndent(envelope, "", "  ")
	return append(raw, '\n'), err
}

func (l Launch) measurement() string {
	if len(l.SNP) > 0 {
		return l.SNP[0].Measurement
	}
	return l.TDX[0].MRTD
}

// check refuses what no machine could show.
func (l Launch) check() error {
	if len(l.SNP)+len(l.TDX) == 0 {
		return errors.New("no way of launching is given: want a launch measurement of SNP or the MRTD of TDX")
	}
	for _, way := range l.SNP {
		if err := isMeasurement("launch measurement", way.Measurement); err != nil {
			return err
		}
		for _, part := range []string{"bootloader", "tee", "snp", "microcode"} {
			if _, ok := way.MinimumTCB[part]; !ok {
				return fmt.Errorf("the least security patch level of %s is missing: no firmware would do", part)
			}
		}
	}
	for _, way := range l.TDX {
		for _, m := range [][2]string{{"MRTD", way.MRTD}, {"RTMR 1", way.RTMRs["1"]}, {"RTMR 2", way.RTMRs["2"]}} {
			if err := isMeasurement(m[0], m[1]); err != nil {
				return err
			}
		}
	}
	return nil
}

func isMeasurement(name, text string) error {
	if raw, err := hex.DecodeString(text); err != nil || len(raw) != 48 || hex.EncodeToString(raw) != text {
		return fmt.Errorf("%s is %.20q: want 96 lower-case hex digits", name, text)
	}
	return nil
}
