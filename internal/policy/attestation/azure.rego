# Confidential machines at Azure that boot one of our images.
#
# input.claims   as Trustee's az-snp-vtpm and az-tdx-vtpm verifiers name them, and
#                measurement_hex, committed_tcb_… (docs/formats/evidence.md)
#
# The hardware vouches for the paravisor (an image's lists snp and tdx say which
# one and on what firmware), and the paravisor's vTPM for the image: PCRs 4, 7,
# 11, 12 and 13 as of any machine with a TPM.
package policy

import rego.v1

kinds contains "az-snp-vtpm"

kinds contains "az-tdx-vtpm"

trusted contains "az-snp-vtpm" if {
	some id in azure_images
	some way in data.reference[id].snp
	way.measurement == input.claims.measurement_hex
	count(azure_old(way)) == 0
	input.claims.policy_debug_allowed == "false"
	input.claims.policy_migrate_ma == "false"
	input.claims.vmpl == 0
}

trusted contains "az-tdx-vtpm" if {
	some id in azure_images
	some way in data.reference[id].tdx
	way.mr_td == tdx_body("mr_td")
	input.claims.tcb_status in tdx_statuses(way)
	input.claims.td_attributes.debug == false
}

at_azure if input.tee in {"az-snp-vtpm", "az-tdx-vtpm"}

azure_pcr(n) := object.get(input.claims, ["tpm", sprintf("pcr%02d", [n])], "missing")

# Images whose boot the vTPM shows, with Secure Boot and without overrides.
azure_images contains id if {
	at_azure
	data.images[azure_pcr(11)].status == "trusted"
	some id in data.images[azure_pcr(11)].references
	data.reference[id].pcrs["11"] == azure_pcr(11)
	some boot in data.reference[id].firmware
	boot.secure_boot == true
	boot.pcrs["4"] == azure_pcr(4)
	boot.pcrs["7"] == azure_pcr(7)
	azure_pcr(12) == zero
	azure_pcr(13) == zero
}

# Reported levels are text here, as Trustee has them.
azure_old(way) := {sentence |
	some part in {"bootloader", "tee", "snp", "microcode"} | object.keys(way.minimum_tcb)
	some which in ["reported", "committed"]
	name := sprintf("%s_tcb_%s", [which, part])
	least := object.get(way.minimum_tcb, part, "what the reference values name")
	not azure_at_least(name, least)
	sentence := sprintf("firmware is too old: %s is %v, must be at least %v", [name, object.get(input.claims, name, "missing"), least])
}

azure_at_least(name, least) if {
	is_number(least)
	to_number(input.claims[name]) >= least
}

shown_image := input.claims.tpm.pcr11 if at_azure

# What is known and trusted no more says so by itself.
azure_known if data.images[azure_pcr(11)].status != "trusted"

# — why not —

explanations contains sprintf("the vTPM's PCRs 4, 7, 11, 12 and 13 are %s, %s, %s, %s and %s: no trusted image has them", [azure_pcr(4), azure_pcr(7), azure_pcr(11), azure_pcr(12), azure_pcr(13)]) if {
	at_azure
	count(azure_images) == 0
	not azure_known
}

explanations contains sprintf("the paravisor's measurement is %v, which no trusted image names", [object.get(input.claims, "measurement_hex", "missing")]) if {
	input.tee == "az-snp-vtpm"
	count(azure_images) > 0
	count([way | some id in azure_images; some way in data.reference[id].snp; way.measurement == input.claims.measurement_hex]) == 0
}

explanations contains sentence if {
	input.tee == "az-snp-vtpm"
	some id in azure_images
	some way in data.reference[id].snp
	way.measurement == input.claims.measurement_hex
	some sentence in azure_old(way)
}

explanations contains "the machine may be debugged by its host" if {
	input.tee == "az-snp-vtpm"
	not input.claims.policy_debug_allowed == "false"
}

explanations contains "the machine may be moved by a migration agent" if {
	input.tee == "az-snp-vtpm"
	not input.claims.policy_migrate_ma == "false"
}

explanations contains sprintf("the paravisor's MRTD is %s, which no trusted image names", [tdx_body("mr_td")]) if {
	input.tee == "az-tdx-vtpm"
	count(azure_images) > 0
	count([way | some id in azure_images; some way in data.reference[id].tdx; way.mr_td == tdx_body("mr_td")]) == 0
}

explanations contains sprintf("the platform's TCB status is %v", [object.get(input.claims, "tcb_status", "missing")]) if {
	input.tee == "az-tdx-vtpm"
	not input.claims.tcb_status == "UpToDate"
}

explanations contains "the machine may be debugged by its host" if {
	input.tee == "az-tdx-vtpm"
	not input.claims.td_attributes.debug == false
}

affirmed["az-snp-vtpm"] := affirmed_at_azure

affirmed["az-tdx-vtpm"] := affirmed_at_azure

affirmed_at_azure := {
	"instance-identity": 0,
	"configuration": 2, # a known and approved configuration
	"executables": 3, # only approved programs, since boot
	"file-system": 2, # the root's hash is part of PCR 11
	"hardware": 2, # a genuine processor, with firmware that is new enough
	"runtime-opaque": 2, # memory is encrypted and isolated from the host
	"storage-opaque": 0,
	"sourced-data": 0,
}
