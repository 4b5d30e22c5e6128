// Package efivar reads and writes OVMF's variable volume (OVMF_VARS*.fd).
//
// Secure Boot keys go straight into a fresh copy of the volume, so the first
// boot already enforces them and no key ever has to be enrolled by hand.
package efivar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"

	"holdfast/internal/boot/guid"
)

// A Variable of the store.
type Variable struct {
	Name       string
	Vendor     guid.GUID
	Attributes uint32
	Time       time.Time // of authenticated variables; zero if never set
	Data       []byte
}

// ErrNotVolume says that bytes are no volume of authenticated variables.
var ErrNotVolume = errors.New("not a UEFI variable volume")

var (
	volumeGUID = guid.Must("fff12b8d-7696-4c8b-a985-2747075b4f50").EFI() // gEfiSystemNvDataFvGuid
	storeGUID  = guid.Must("aaf32c78-947b-439a-a180-2e144ec37792").EFI() // gEfiAuthenticatedVariableGuid
)

// volumeHeader is what matters of EFI_FIRMWARE_VOLUME_HEADER (UEFI PI 1.7,
// volume 3, section 3.2.1).
type volumeHeader struct {
	_            [16]byte
	GUID         [16]byte
	Length       uint64
	Signature    [4]byte
	Attributes   uint32
	HeaderLength uint16
	Checksum     uint16
	ExtHeader    uint16
	_, Revision  uint8
}

// storeHeader is VARIABLE_STORE_HEADER of EDK2's VariableFormat.h.
type storeHeader struct {
	GUID          [16]byte
	Size          uint32
	Format, State uint8
	_             [6]byte
}

// record is AUTHENTICATED_VARIABLE_HEADER of the same file; name and data
// follow it.
type record struct {
	StartID            uint16
	State, _           uint8
	Attributes         uint32
	Count              uint64
	Time               efiTime
	KeyIndex           uint32
	NameSize, DataSize uint32
	Vendor             [16]byte
}

// efiTime is EFI_TIME: UEFI 2.10, section 8.3.
type efiTime struct {
	Year                                uint16
	Month, Day, Hour, Minute, Second, _ uint8
	Nanosecond                          uint32
	Zone                                int16
	Daylight, _                         uint8
}

const (
	recordSize = 60
	startID    = 0x55aa
	formatted  = 0x5a
	healthy    = 0xfe
	stateAdded = 0x3f
	// inTransition marks a variable that is being replaced; it lives unless
	// its successor was written whole.
	inTransition = stateAdded & 0xfe
)

var le = binary.LittleEndian

// locate finds the variable region inside a volume.
func locate(volume []byte) (start, end int, err error) {
	var v volumeHeader
	var s storeHeader
	if _, err := binary.Decode(volume, le, &v); err != nil {
		return 0, 0, ErrNotVolume
	}
	if v.GUID != volumeGUID || string(v.Signature[:]) != "_FVH" || int(v.HeaderLength) > len(volume) {
		return 0, 0, ErrNotVolume
	}
	if _, err := binary.Decode(volume[v.HeaderLength:], le, &s); err != nil {
		return 0, 0, ErrNotVolume
	}
	start = int(v.HeaderLength) + binary.Size(s)
	end = int(v.HeaderLength) + int(s.Size)
	if s.GUID != storeGUID || s.Format != formatted || s.State != healthy || end < start || end > len(volume) {
		return 0, 0, ErrNotVolume
	}
	return start, end, nil
}

// Read lists the store's live variables.
func Read(volume []byte) ([]Variable, error) {
	list, _, err := read(volume)
	return list, err
}

// read also returns where the next variable goes.
func read(volume []byte) (list []Variable, next int, err error) {
	at, end, err := locate(volume)
	if err != nil {
		return nil, 0, err
	}
	for at+recordSize <= end {
		var r record
		_, _ = binary.Decode(volume[at:], le, &r)
		if r.StartID != startID {
			break
		}
		data := at + recordSize + int(r.NameSize)
		if data+int(r.DataSize) > end {
			return nil, 0, fmt.Errorf("UEFI variable at %#x: ends after the store", at)
		}
		if r.State == stateAdded || r.State == inTransition {
			list = append(list, Variable{
				Name: decodeName(volume[at+recordSize : data]), Vendor: guid.FromEFI(r.Vendor),
				Attributes: r.Attributes, Time: r.Time.time(), Data: volume[data : data+int(r.DataSize)],
			})
		}
		at = (data + int(r.DataSize) + 3) &^ 3
	}
	return list, at, nil
}

func (t efiTime) time() time.Time {
	if t.Year == 0 {
		return time.Time{}
	}
	return time.Date(int(t.Year), time.Month(t.Month), int(t.Day), int(t.Hour), int(t.Minute), int(t.Second), int(t.Nanosecond), time.UTC)
}

func newTime(t time.Time) efiTime {
	if t.IsZero() {
		return efiTime{}
	}
	t = t.UTC()
	return efiTime{Year: uint16(t.Year()), Month: uint8(t.Month()), Day: uint8(t.Day()),
		Hour: uint8(t.Hour()), Minute: uint8(t.Minute()), Second: uint8(t.Second())}
}

// encodeName is UTF-16 with a final zero.
func encodeName(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s + "\x00")) {
		b = le.AppendUint16(b, u)
	}
	return b
}

func decodeName(b []byte) string {
	var units []uint16
	for ; len(b) >= 2 && le.Uint16(b) != 0; b = b[2:] {
		units = append(units, le.Uint16(b))
	}
	return string(utf16.Decode(units))
}

// encode is the variable as it lies in the store, without padding.
func (v Variable) encode() []byte {
	name := encodeName(v.Name)
	b, _ := binary.Append(nil, le, record{ // fixed size, cannot fail
		StartID: startID, State: stateAdded, Attributes: v.Attributes, Time: newTime(v.Time),
		NameSize: uint32(len(name)), DataSize: uint32(len(v.Data)), Vendor: v.Vendor.EFI(),
	})
	return append(append(b, name...), v.Data...)
}
