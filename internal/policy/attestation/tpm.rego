# Machines with a TPM that boot one of our images.
#
# input.claims   pcr00 … pcr23 (64 hexadecimal digits each), ak_public,
#                ek_certificate …
package policy

import rego.v1

kinds contains "tpm"

trusted contains "tpm" if {
	data.images[input.claims.pcr11].status == "trusted"
	some matched in boots
	matched.boot.secure_boot == true
	untouched(12)
	untouched(13)
}

shown_image := input.claims.pcr11 if input.tee == "tpm"

zero := "0000000000000000000000000000000000000000000000000000000000000000"

pcr(n) := input.claims[sprintf("pcr%02d", [n])]

shown(n) := pcr(n)

shown(n) := "missing" if not pcr(n)

untouched(12) if input.claims.pcr12 == zero

untouched(13) if input.claims.pcr13 == zero

# PCR 11 is the UKI: kernel, initramfs and a command line that names the root
# by its hash. It is the same on every firmware. data.images only finds the
# references quickly: what they say is what counts.
images contains id if {
	some id in data.images[input.claims.pcr11].references
	data.reference[id].pcrs["11"] == input.claims.pcr11
}

# PCR 4 (what the firmware started) and PCR 7 (Secure Boot state and keys)
# belong together: both come from one way of booting the image.
boots contains {"image": id, "boot": boot} if {
	some id in images
	some boot in data.reference[id].firmware
	input.claims.pcr04 == boot.pcrs["4"]
	input.claims.pcr07 == boot.pcrs["7"]
}

# — why not —

explanations contains "no image is trusted at this broker yet" if {
	input.tee == "tpm"
	count(data.reference) == 0
	not data.images[input.claims.pcr11]
}

explanations contains sprintf("PCR 11 is %s, no trusted image has it", [shown(11)]) if {
	input.tee == "tpm"
	count(data.reference) > 0
	count(images) == 0
	not data.images[input.claims.pcr11]
}

explanations contains sprintf("PCR %d is %s, image %s shows %s", [n, shown(n), data.reference[id].image, expected(id, n)]) if {
	input.tee == "tpm"
	count(boots) == 0
	some id in images
	some n in [4, 7]
	not shows(id, n)
}

# PCRs 4 and 7 are each known, but from two different ways of booting.
explanations contains sprintf("PCRs 4 and 7 of image %s do not belong to one firmware", [data.reference[id].image]) if {
	input.tee == "tpm"
	count(boots) == 0
	some id in images
	shows(id, 4)
	shows(id, 7)
}

explanations contains "Secure Boot is off" if {
	input.tee == "tpm"
	count(boots) > 0
	not booted_securely
}

booted_securely if {
	some matched in boots
	matched.boot.secure_boot == true
}

explanations contains sprintf("PCR 12 is %s, must be zero: something overrode the kernel command line or added a credential", [shown(12)]) if {
	input.tee == "tpm"
	not untouched(12)
}

explanations contains sprintf("PCR 13 is %s, must be zero: a system extension was added", [shown(13)]) if {
	input.tee == "tpm"
	not untouched(13)
}

shows(id, n) if {
	some boot in data.reference[id].firmware
	pcr(n) == boot.pcrs[sprintf("%d", [n])]
}

expected(id, n) := concat(" or ", sort({boot.pcrs[sprintf("%d", [n])] | some boot in data.reference[id].firmware}))

# A software TPM is run by the host, so nothing is claimed about memory
# (runtime-opaque) or storage.
affirmed["tpm"] := {
	"instance-identity": endorsed, # the endorsement key is certified and was challenged
	"configuration": 2, # a known and approved configuration
	"executables": 3, # only approved programs, since boot
	"file-system": 2, # the root's hash is part of PCR 11
	"hardware": endorsed, # a genuine TPM of a trusted maker
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}

# An attestation key that an administrator listed was not shown to live in any
# TPM: nothing is claimed of the instance or its hardware.
default endorsed := 0

endorsed := 2 if input.claims.activated == true
