# The attestation policy: is this a machine that may be given anything at all?
#
# It is asked after the evidence was verified: the quote is signed by a key
# that lives in a TPM whose maker is trusted, and covers this session's nonce
# and ephemeral key. What is left to decide is whether the machine runs what it
# should.
#
# input
#   tee             "tpm"
#   claims          what the verifier found: pcr00 … pcr23 (64 hex digits),
#                   ak_public, init_data (PCR 8), report_data, ek_certificate …
#   init_data       absent when the machine sent none
#     digest        "sha256:…" of the whole document; PCR 8 was checked against it
#     data          its table of strings
#   time            seconds since 1970
#
# data
#   reference       trusted images: id → reference values
#                   {image, uki, root_hash, pcrs: {"11": …}, firmware: [{firmware, secure_boot, pcrs: {"4": …, "7": …}}]}
#   configurations  authorised ones: "sha256:…" → {resources: ["default/key/x", …]}
#
# output
#   allow           true, or the machine is refused
#   reasons         why not: a set of sentences that a person reads on a console
#   trust_claims    the AR4SI trustworthiness vector that goes into the token
package policy

import rego.v1

default allow := false

# Said positively, so that a claim that is missing can only ever refuse.
allow if {
	count(reasons) == 0
	image_trusted
	untouched(12)
	untouched(13)
	data.configurations[input.init_data.digest]
}

zero := "0000000000000000000000000000000000000000000000000000000000000000"

pcr(n) := input.claims[sprintf("pcr%02d", [n])]

shown(n) := pcr(n)

shown(n) := "missing" if not pcr(n)

untouched(n) if pcr(n) == zero

known contains id if some id, _ in data.reference

# PCR 11 is the UKI: kernel, initramfs and a command line that names the root
# by its hash. It is the same on every firmware.
images contains id if {
	some id, reference in data.reference
	pcr(11) == reference.pcrs["11"]
}

# PCR 4 (what the firmware started) and PCR 7 (Secure Boot state and keys)
# belong together: both come from one way of booting the image.
boots contains {"image": id, "boot": boot} if {
	some id in images
	some boot in data.reference[id].firmware
	pcr(4) == boot.pcrs["4"]
	pcr(7) == boot.pcrs["7"]
}

image_trusted if {
	some matched in boots
	matched.boot.secure_boot == true
}

# — reasons —

reasons contains "no image is trusted at this broker yet" if count(known) == 0

reasons contains sprintf("PCR 11 is %s, no trusted image has it", [shown(11)]) if {
	count(known) > 0
	count(images) == 0
}

reasons contains sprintf("PCR %d is %s, image %s shows %s", [n, shown(n), data.reference[id].image, expected(id, n)]) if {
	some id in images
	count(boots) == 0
	some n in [4, 7]
	not shows(id, n)
}

# PCRs 4 and 7 are each known, but from two different ways of booting.
reasons contains sprintf("PCRs 4 and 7 of image %s do not belong to one firmware", [data.reference[id].image]) if {
	some id in images
	count(boots) == 0
	shows(id, 4)
	shows(id, 7)
}

reasons contains "Secure Boot is off" if {
	count(boots) > 0
	not image_trusted
}

reasons contains sprintf("PCR 12 is %s, must be zero: something overrode the kernel command line or added a credential", [shown(12)]) if not untouched(12)

reasons contains sprintf("PCR 13 is %s, must be zero: a system extension was added", [shown(13)]) if not untouched(13)

reasons contains "the machine sent no init-data document" if not input.init_data.digest

reasons contains sprintf("configuration %s is not authorised", [input.init_data.digest]) if not data.configurations[input.init_data.digest]

shows(id, n) if {
	some boot in data.reference[id].firmware
	pcr(n) == boot.pcrs[sprintf("%d", [n])]
}

expected(id, n) := concat(" or ", sort({boot.pcrs[sprintf("%d", [n])] | some boot in data.reference[id].firmware}))

# — the trustworthiness vector, draft-ietf-rats-ar4si section 2.3 —
#
# A software TPM is run by the host, so nothing is claimed about memory
# (runtime-opaque) or storage: 0 is "no assertion".

default trust_claims := {
	"instance-identity": 0,
	"configuration": 36, # security-relevant parts are not known
	"executables": 33, # something runs that is not recognised
	"file-system": 0,
	"hardware": 97, # not recognised
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}

trust_claims := {
	"instance-identity": 2, # the endorsement key is certified and was challenged
	"configuration": 2, # a known and approved configuration
	"executables": 3, # only approved programs, since boot
	"file-system": 2, # the root's hash is part of PCR 11
	"hardware": 2, # a genuine TPM of a trusted maker
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
} if {
	allow
}
