# Machines under AMD SEV-SNP that were launched with one of our images.
#
# input.claims   as Trustee's snp verifier names them, and vmpl,
#                committed_tcb_… (docs/formats/evidence.md)
#
# A trusted image says in its list snp how it is launched:
# {measurement, minimum_tcb: {bootloader, tee, snp, microcode, fmc}}.
package policy

import rego.v1

kinds contains "snp"

shown_image := input.claims.measurement if input.tee == "snp"

trusted contains "snp" if {
	data.images[input.claims.measurement].status == "trusted"
	some way in snp_ways
	count(snp_old(way)) == 0
	snp_closed
}

snp_closed if {
	input.claims.policy_debug_allowed == false
	input.claims.policy_migrate_ma == false
	input.claims.vmpl == 0
}

snp_ways contains way if {
	some id in data.images[input.claims.measurement].references
	some way in data.reference[id].snp
	way.measurement == input.claims.measurement
	every part in ["bootloader", "tee", "snp", "microcode"] { # without one, any level of it would do
		is_number(way.minimum_tcb[part])
	}
}

# Two levels count: the one that the signing key stands for, and the one that
# the firmware can no longer be rolled back behind. One that the reference
# values do not name is none that will do.
snp_old(way) := {sentence |
	some part in {"bootloader", "tee", "snp", "microcode"} | object.keys(way.minimum_tcb)
	some which in ["reported", "committed"]
	name := sprintf("%s_tcb_%s", [which, part])
	not snp_at_least(name, way.minimum_tcb[part])
	least := object.get(way.minimum_tcb, part, "what the reference values name")
	sentence := sprintf("firmware is too old: %s is %v, must be at least %v", [name, object.get(input.claims, name, "missing"), least])
}

snp_at_least(name, least) if {
	is_number(least)
	is_number(input.claims[name])
	input.claims[name] >= least
}

# — why not —

explanations contains "the image's reference values do not name the levels of bootloader, tee, snp and microcode that will do" if {
	input.tee == "snp"
	count(snp_ways) == 0
	data.images[input.claims.measurement].status == "trusted"
}

explanations contains sprintf("launch measurement is %s, no trusted image has it", [object.get(input.claims, "measurement", "missing")]) if {
	input.tee == "snp"
	count(snp_ways) == 0
	not data.images[input.claims.measurement]
}

explanations contains sentence if {
	input.tee == "snp"
	every way in snp_ways {
		count(snp_old(way)) > 0
	}
	some way in snp_ways
	some sentence in snp_old(way)
}

explanations contains "the machine may be debugged by its host" if {
	input.tee == "snp"
	not input.claims.policy_debug_allowed == false
}

explanations contains "the machine may be moved by a migration agent" if {
	input.tee == "snp"
	not input.claims.policy_migrate_ma == false
}

explanations contains sprintf("the report was asked for at VMPL %v, must be 0", [object.get(input.claims, "vmpl", "missing")]) if {
	input.tee == "snp"
	not input.claims.vmpl == 0
}

# More than a TPM can say of memory, and nothing of files: whether they are
# measured is a matter of what was launched.
affirmed["snp"] := {
	"instance-identity": 0,
	"configuration": 2, # a known and approved configuration
	"executables": 3, # only what the launch measurement covers
	"file-system": 0,
	"hardware": 2, # a genuine processor, with firmware that is new enough
	"runtime-opaque": 2, # memory is encrypted and isolated from the host
	"storage-opaque": 0,
	"sourced-data": 0,
}
