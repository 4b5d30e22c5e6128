package snp

import "encoding/json"

// Marshal writes the evidence that a machine sends: what ParseEvidence reads.
func Marshal(r *Report, chain ...Certificate) (json.RawMessage, error) {
	report, err := json.Marshal(fieldsOf(r))
	if err != nil {
		return nil, err
	}
	return json.Marshal(evidence{Report: report, Chain: chain})
}

func fieldsOf(r *Report) fields {
	version := func(at int) firmware {
		return firmware{Build: r.raw[at], Minor: r.raw[at+1], Major: r.raw[at+2]}
	}
	launched, current := r.u64(0x1F8), r.u64(0x200)
	return fields{
		Version: r.Version(), GuestSVN: r.GuestSVN(), Policy: r.u64(0x08),
		FamilyID: r.bytes(0x10, 16), ImageID: r.bytes(0x20, 16),
		VMPL: r.VMPL(), Algorithm: r.u32(0x34), CurrentTCB: r.level(0x38),
		Platform: r.u64(0x40), KeyInfo: r.u32(0x48),
		ReportData: r.ReportData(), Measure: r.bytes(0x90, 48), HostData: r.HostData(),
		IDKey: r.bytes(0xE0, 48), AuthorKey: r.bytes(0x110, 48),
		ReportID: r.bytes(0x140, 32), ReportIDMA: r.bytes(0x160, 32),
		Reported: r.level(0x180), Family: &r.raw[0x188], Model: &r.raw[0x189], Stepping: &r.raw[0x18A],
		ChipID: r.ChipID(), Committed: r.level(0x1E0), Current: version(0x1E8), Commit: version(0x1EC),
		Launch: r.level(0x1F0), LaunchMit: &launched, CurrentMit: &current,
		Signature: coordinates{R: r.bytes(0x2A0, 72), S: r.bytes(0x2E8, 72)},
	}
}

func (r *Report) level(at int) level {
	t := r.TCB(at)
	l := level{Bootloader: t.Bootloader, TEE: t.TEE, SNP: t.SNP, Microcode: t.Microcode}
	if r.Product == Turin {
		l.FMC = &t.FMC
	}
	return l
}
