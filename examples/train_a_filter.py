"""Train a filter of your own on a simulated series, and keep it for the command line.

Usage: python train_a_filter.py [NAME.tomofilt.safetensors]

Gradients flow through back-projection. The bundle goes with any series:
tomofilt reconstruct --imod-dir TS_01 -m NAME.tomofilt.safetensors
"""

import sys

import torch

import tomofilt


def main(result: str, steps: int = 40) -> float:
    """Fit factors on the ramp to a known specimen; return the error over the truth's variance."""
    made = tomofilt.simulated_series(seed=1, shape=(32, 64, 64), snr=0.1)
    stack = tomofilt.aligned(made.tilt_series(), tomofilt.Settings(dose_weight="off"))
    operator = tomofilt.Operator.of(stack.frame)
    truth = torch.from_numpy(made.truth - made.truth.mean())
    spectra = torch.fft.rfft(torch.from_numpy(stack.numpy()))
    k = torch.fft.rfftfreq(stack.shape[2], stack.pixel_angst)  # 1/angstrom
    ramp = k * torch.pi / len(stack) * stack.pixel_angst
    factors = torch.full(k.shape, 0.5, requires_grad=True)
    optimiser = torch.optim.Adam([factors], lr=0.05)
    for _ in range(steps):
        volume = operator.T(torch.fft.irfft(spectra * ramp * factors, n=stack.shape[2]))
        loss = (volume - volume.mean() - truth).square().mean() / truth.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    tilts = made.scheme.tilt_deg
    tomofilt.save_filter(result, k, factors.detach(), tilts, overwrite=True)
    return loss.item()


if __name__ == "__main__":
    print(main(sys.argv[1] if len(sys.argv) > 1 else "mine.tomofilt.safetensors"))
