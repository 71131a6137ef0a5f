"""The words of generated blocks in the languages of the pages."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], str]
"""From our English to the page's language."""

CHINESE = {
    # headers of tables
    "stage": "级",
    "output": "输出",
    "parameters": "参数量",
    "multiply-adds": "乘加次数",
    "receptive field": "感受野",
    "all, with the head": "合计（含分类头）",
    "paper": "论文",
    "prints": "论文所印",
    "ours ends with": "对应的级",
    "gives": "实际输出",
    "equal": "一致",
    "differs": "不同",
    "option": "选项",
    "as published": "原版",
    "network": "网络",
    "year": "年份",
    "input": "输入边长",
    "sees at the end": "末级感受野",
    # studies
    "arm": "方案",
    "top-1": "top-1 准确率",
    "difference, points": "差值（百分点）",
    "p (Holm)": "p（Holm 校正）",
    "verdict": "结论",
    "reference": "基准",
    "{:.1f} % ({:.1f} to {:.1f})": "{:.1f} %（{:.1f} 至 {:.1f}）",
    "{:+.1f} ({:+.1f} to {:+.1f})": "{:+.1f}（{:+.1f} 至 {:+.1f}）",
    "better": "更好",
    "worse": "更差",
    "not significant at this budget": "在此预算下不显著",
    "every run diverged": "全部发散",
    "nothing to compare with": "无从比较",
    " ({} of {} runs diverged)": "（{} / {} 次发散）",
    "epoch": "轮次",
    "validation top-1": "验证集 top-1",
    "`{model}` from nothing, {epochs} epochs of the {images:,} training images of `{data}`, on {date} with "
    "PyTorch {torch} on {device} ({processor}, {threads}). ": (
        "`{model}` 从零训练：`{data}` 的 {images:,} 张训练图片，{epochs} 轮；{date}，PyTorch {torch}，"
        "{device}（{processor}，{threads}）。"
    ),
    "Means of {seeds} runs with their 95 % intervals (Student's t), on n = {n:,} validation images; differences "
    "are paired by seed, p allows for the number of comparisons:": (
        "表中为 {seeds} 次训练的均值与 95 % 置信区间（Student t），验证图片 n = {n:,} 张；差值按随机种子配对，"
        "p 已按比较次数校正："
    ),
    "one thread": "单线程",
    "{} threads": "{} 线程",
    "study": "实验",
    "study-{}": "study-{}.zh-CN",
    "1x1 reduction in front of the large kernels": "大卷积核之前的 1x1 降维",
    "Auxiliary classifiers": "辅助分类器",
    "Batch normalization and the learning rate": "批归一化与学习率",
    "Sigmoids, with and without batch normalization": "sigmoid：有无批归一化",
    "Initial weights ten times too small or too large": "初始权重小十倍或大十倍",
    "Halving the grid: pool before, or beside the convolutions": "网格减半：先池化，还是与卷积并行",
    "Separable convolutions: space first, or channels first": "可分离卷积：先空间，还是先通道",
    "Large kernels factorized": "大卷积核的分解",
    "Label smoothing": "标签平滑",
    "Residual connections": "残差连接",
    "Separable for regular convolutions": "可分离卷积代替普通卷积",
    "An activation between the halves of a separable convolution": "可分离卷积两半之间的激活",
    # what was measured
    "data, network": "数据与网络",
    "top-1 (95 % interval)": "top-1（95 % 区间）",
    "n": "图片数",
    "seed": "随机种子",
    "command": "命令",
    "what": "项目",
    "ours": "本工具",
    "beside, in the same run": "同一次运行中的对比",
    "share of the measured peak": "占实测峰值",
    "training step, `{}`, batch {}": "训练步，`{}`，批量 {}",
    "{:.1f} images/s": "{:.1f} 张/秒",
    "{:.0f} images/s": "{:.0f} 张/秒",
    "JPEG of {:.0f} kB to an augmented image of {} px": "{:.0f} kB 的 JPEG 到 {} 像素的增强图片",
    "{:.2f} ms a core": "每核 {:.2f} 毫秒",
    "`--tune head`, {}, the whole command": "`--tune head`，{}，整条命令",
    "{:.0f} s; again {:.0f} s": "{:.0f} 秒；再次运行 {:.0f} 秒",
    "its engine alone needs 1 / {:.2f} of that": "仅推理引擎需其 1 / {:.2f}",
    "ours with aux": "本工具，含辅助头",
    "ours compiled": "本工具，编译",
    "ours, color jitter": "本工具，含颜色抖动",
    "batch": "批量",
    "files to CSV": "文件到 CSV",
    "{:.0f} % of the network alone": "为单独网络速度的 {:.0f} %",
    "On the {:,} images of `{}`, {}, {} cores, {}:": "`{1}` 的 {0:,} 张图片，{2}，{3} 核，{4}：",
    "a head is sure from": "辅助头的概率阈值",
    "left at {}": "在 {} 离开",
    "plain network": "完整网络",
    "images/s": "张/秒",
    "times as fast": "速度之比",
    # arms
    "with reduction": "有 1x1 降维",
    "naive": "朴素模块",
    "without": "无辅助头",
    "with auxiliary heads": "有辅助头",
    "batch norm, 1x": "批归一化，1 倍",
    "batch norm, 5x": "批归一化，5 倍",
    "batch norm, 30x": "批归一化，30 倍",
    "no norm, 1x": "无归一化，1 倍",
    "no norm, 5x": "无归一化，5 倍",
    "sigmoid, batch norm": "sigmoid，批归一化",
    "sigmoid, no norm": "sigmoid，无归一化",
    "ReLU, batch norm": "ReLU，批归一化",
    "batch norm, x 1": "批归一化，x 1",
    "batch norm, x 0.1": "批归一化，x 0.1",
    "batch norm, x 10": "批归一化，x 10",
    "no norm, x 1": "无归一化，x 1",
    "no norm, x 0.1": "无归一化，x 0.1",
    "no norm, x 10": "无归一化，x 10",
    "beside": "并行池化",
    "before": "先池化",
    "space first": "先空间",
    "channels first": "先通道",
    "factorized": "分解",
    "whole kernels": "整核",
    "hard labels": "硬标签",
    "smoothing 0.1": "平滑 0.1",
    "residual": "残差",
    "plain": "无残差",
    "separable": "可分离卷积",
    "regular": "普通卷积",
    "none": "无激活",
    "ReLU": "ReLU",
}


def english(text: str) -> str:
    """As it is."""
    return text


def chinese(text: str) -> str:
    """Raises `KeyError` for a text that has no translation yet."""
    return CHINESE[text]
